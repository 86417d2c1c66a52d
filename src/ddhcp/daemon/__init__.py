"""The daemon: the core over real sockets, timers and a store."""
