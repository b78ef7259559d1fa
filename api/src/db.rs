//! SQL: one module per table or question, and none anywhere else.
