"""JupyterLab as `make lab` runs it: what the kernel says reaches the browser at once.

TCP holds a message back while an earlier small one is not acknowledged, and the browser's machine puts acknowledgements
off by some 40 ms: a dragged point would always be that far behind.
"""

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """The server's connection between kernel and browser, which waits for no acknowledgement."""

    def connect(self):
        """Start to pass messages on."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()


c = get_config()  # noqa: F821 (Jupyter gives it to its configuration files)
c.ServerApp.kernel_websocket_connection_class = PromptConnection
