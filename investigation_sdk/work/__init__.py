"""Work: handlers, the queue that is filled by ``sdk.submit``, and the workers and engines that empty it."""
