"""`python -m e2e.network.listen HOST:PORT`: hears a rendezvous as the operator does, and prints every report."""

from __future__ import annotations

import asyncio
import os
import sys

import aiohttp

from trainingjob_api.contract.tls import client_context


async def listen(address: str) -> None:
    context = client_context(os.environ["LISTEN_CERTIFICATE"])
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                url, headers = f"wss://{address}/v1/operator", {"Authorization": "Bearer operator"}
                async with session.ws_connect(url, ssl=context, headers=headers) as socket:
                    async for message in socket:
                        print(message.data, flush=True)
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(listen(sys.argv[1]))
