"""What the tests share: a file system that fails and crashes, recorded histories, child processes."""
