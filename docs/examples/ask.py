"""Asks a bot with OpenAI's own client and prints the answer as it is written, then its sources.

MIA_URL=http://127.0.0.1:8000 MIA_KEY=mia_sk_… python ask.py "What does a tyre cost?"
"""

import os
import sys

from openai import OpenAI

client = OpenAI(base_url=os.environ["MIA_URL"] + "/v1", api_key=os.environ["MIA_KEY"])
question = {"role": "user", "content": sys.argv[1]}
sources = []
for chunk in client.chat.completions.create(model="bot", messages=[question], stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
    sources = getattr(chunk, "sources", sources)
print()
for source in sources:
    print(f"[{source['index']}] {source['title']} {source['url']}")
