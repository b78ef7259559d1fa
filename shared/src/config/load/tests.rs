//! What a file and an environment lead to.
