"""Services that may be told of views: what each is sent, and what its answers mean. All pure."""
