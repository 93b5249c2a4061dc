//! What the macro expands to, and that it expands to something whatever it is given.
