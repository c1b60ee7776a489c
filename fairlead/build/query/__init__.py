"""Questions about the graph of declared targets, answered without running a rule or an action."""
