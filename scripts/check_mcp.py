"""Runs every MCP tool with the official Python client: check_mcp.py stdio COMMAND… or check_mcp.py http URL."""

import asyncio
import contextlib
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

WANT = {"add_memory", "search_memories", "get_memory", "list_memories", "delete_memory", "ask_memory"}


@contextlib.asynccontextmanager
async def connect(kind, target):
    if kind == "stdio":
        async with stdio_client(StdioServerParameters(command=target[0], args=target[1:], env=dict(os.environ))) as streams:
            yield streams[0], streams[1]
    else:
        async with streamable_http_client(target[0]) as streams:
            yield streams[0], streams[1]


async def main(kind, target):
    async with connect(kind, target) as (read, write), ClientSession(read, write) as session:
        init = await session.initialize()
        tools = {t.name for t in (await session.list_tools()).tools}
        assert tools == WANT, tools

        async def call(name, **args):
            r = await session.call_tool(name, args)  # the client checks the result against the tool's schema
            assert not r.is_error, (name, r.content)
            return r.structured_content

        added = await call("add_memory", memory="python", turns=[{"speaker": "Rita", "text": "We meet at the old mill.", "session": "1"}])
        assert added["new"] == 1, added
        assert "python" in [m["name"] for m in (await call("list_memories"))["memories"]]
        assert (await call("get_memory", memory="python"))["turns"][0]["speaker"] == "Rita"
        assert (await call("search_memories", memory="python", query="Where is the mill?"))["turns"]
        answer = await call("ask_memory", memory="python", question="Where do they meet?", budget="low")
        assert answer["answer"] and answer["evidence"] and answer["milliseconds"] > 0, answer
        refused = await session.call_tool("ask_memory", {"memory": "none", "question": "Where?"})
        assert refused.is_error, refused
        refused = await session.call_tool("delete_memory", {"memory": "python"})
        assert refused.is_error, refused
        assert (await call("delete_memory", memory="python", all=True))["memories"] == 1
        print(kind, "protocol", init.protocol_version, "tools", len(tools))


asyncio.run(main(sys.argv[1], sys.argv[2:]))
