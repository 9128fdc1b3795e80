//! Only tests: the public surface of the library is `docs/surface/`, and a change has to renew it.
