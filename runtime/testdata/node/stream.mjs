// Streams, logs, cancellation, upgrades.
import { setTimeout as sleep } from 'timers/promises';
import fs from 'fs';

export const echo = { fetch: (req) => new Response(req.body) };
export const pipe = (req, res) => { req.pipe(res); };
export const flood = (req, res) => {
  const more = () => { while (res.write(Buffer.alloc(10000))); };
  res.on('drain', more);
  more();
};
export async function* floodGenerator() { for (;;) yield Buffer.alloc(10000); }
export const waits = async (event) => {
  console.log('waiting');
  await new Promise((resolve) => event.signal.addEventListener('abort', resolve));
  console.log('stopped: ' + event.signal.reason.name);
};
export const trailers = (req, res) => {
  req.resume().on('end', () => {
    res.addTrailers({ 'x-sum': req.trailers['x-in'] + '!' });
    res.end('body');
  });
};
export const logs = async (event) => {
  console.log('one ' + event.body);
  process.stdout.write('two ');
  await sleep(1);
  console.error('err ' + event.body);
  process.stdout.write('halves');
  return 'ok';
};
export const direct = () => { fs.writeSync(1, 'straight to the descriptor\n'); return ''; };
let waiting = [];
export const together = async (event) => {
  // Answers when as many calls as the body says are inside.
  await new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === event.body) waiting.forEach((f) => f());
  });
  return event.requestId;
};
export const sse = async (req, res) => {
  res.writeHead(200, { 'content-type': 'text/event-stream' });
  res.write('data: 1\n\n');
  req.signal.addEventListener('abort', () => console.log('sse over'));
};
export const half = async function* () { yield 'begun'; throw new Error('midway'); };
export const slow = async () => { await sleep(50); return 'slow'; };
