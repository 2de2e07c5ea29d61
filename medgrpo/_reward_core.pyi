"""Types of the compiled reward core; compared with the built module by stubtest."""

__version__: str
