// Asks a bot and prints the answer as it is written, then its sources. No package is needed: Node 18 or newer, Deno, Bun.
// MIA_URL=http://127.0.0.1:8000 MIA_KEY=mia_sk_… node ask.mjs "What does a tyre cost?"
import process from 'node:process';

const response = await fetch(`${process.env.MIA_URL}/v1/chat/completions`, {
  method: 'POST',
  headers: { authorization: `Bearer ${process.env.MIA_KEY}`, 'content-type': 'application/json' },
  body: JSON.stringify({ model: 'bot', stream: true, messages: [{ role: 'user', content: process.argv[2] }] }),
});
if (!response.ok) throw new Error((await response.json()).error.message);

let rest = '';
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split('\n');
  rest = lines.pop();
  for (const line of lines.filter((one) => one.startsWith('data: {'))) {
    const { choices, sources = [], error } = JSON.parse(line.slice(6));
    if (error) throw new Error(error.message);
    process.stdout.write(choices[0].delta.content ?? '');
    for (const { index, title, url } of sources) process.stdout.write(`\n[${index}] ${title} ${url}`);
  }
}
process.stdout.write('\n');
