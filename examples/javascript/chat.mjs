// Ask one question and show the tools that were called for it. Node 18 or newer, no dependency.
// Usage: node chat.mjs [question]

const url = process.env.MIDDLEWARE_URL ?? 'http://localhost:8002';
const question = process.argv.slice(2).join(' ') || 'What is 17*23?';

const answer = await fetch(`${url}/chat`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ messages: [{ role: 'user', content: question }] }),
  signal: AbortSignal.timeout(90_000),
});
const body = await answer.json();

if (answer.ok) {
  for (const call of body.tool_calls) {
    console.log(`${call.name} ${JSON.stringify(call.arguments)} → ${call.output}`);
  }
  console.log(body.response);
} else {
  // RFC 9457: `type` is for programs, `detail` for people, `request_id` for the logs.
  console.error(`${body.type}: ${body.detail} (request ${body.request_id})`);
  process.exitCode = 1;
}
