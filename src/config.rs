//! Flags that both services have, as groups that a binary flattens into its own arguments.
