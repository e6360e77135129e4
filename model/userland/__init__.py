"""User code around a spawn: glibc, ld.so, the JDK, CPython."""
