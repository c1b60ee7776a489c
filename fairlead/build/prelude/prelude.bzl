"""The rules that every BUCK file may call, and every .bzl file as native.<rule>."""

load(":alias.bzl", "alias")
load(":cxx.bzl", "cxx_binary", "cxx_library", "cxx_test")
load(":files.bzl", "export_file", "filegroup")
load(":genrule.bzl", "genrule")
load(":http_file.bzl", "http_file")
load(":python.bzl", "python_binary", "python_library", "python_metadata", "python_test")
load(":python_toolchain.bzl", "python_toolchain")
load(":sh_binary.bzl", "sh_binary", "sh_library")
load(":sh_test.bzl", "sh_test")
load(":test_suite.bzl", "test_suite")

native = struct(
    alias = alias,
    cxx_binary = cxx_binary,
    cxx_library = cxx_library,
    cxx_test = cxx_test,
    export_file = export_file,
    filegroup = filegroup,
    genrule = genrule,
    http_file = http_file,
    python_binary = python_binary,
    python_library = python_library,
    python_metadata = python_metadata,
    python_test = python_test,
    python_toolchain = python_toolchain,
    sh_binary = sh_binary,
    sh_library = sh_library,
    sh_test = sh_test,
    test_suite = test_suite,
)
