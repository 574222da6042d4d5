// The shapes a handler may have; the tests call each by its name.
const { Readable } = require('stream');

exports.event = (event) => ({
  method: event.method, path: event.path, query: event.query, body: event.body, agent: event.headers['user-agent'],
  same: event.headers.get('User-Agent'), id: event.requestId, params: event.params, url: event.url, env: process.env.GREETING,
});
exports.context = async (event, context) => ({ id: context.requestId, fn: context.function, left: context.getRemainingTimeInMillis() > 1000 });
exports.fission = async (context) => ({ status: 201, body: `made ${context.request.body.name}`, headers: { 'X-Made': ['a', 'b'] } });
exports.callback = (context, callback) => setTimeout(() => callback(202, { ok: true }, { 'x-way': 'callback' }), 1);
exports.nodeback = (event, done) => { process.nextTick(done, null, 'fine'); };
exports.node = (req, res) => {
  const parts = [];
  req.on('data', (c) => parts.push(c)).on('end', () => {
    res.writeHead(203, { 'X-Req': req.headers.host });
    res.write(`${req.method} ${req.url} `);
    res.end(Buffer.concat(parts));
  });
};
exports.fetching = async (request) => new Response(`${request.method} ${new URL(request.url).pathname} ${(await request.json()).name}`, { status: 418, headers: { 'x-a': 'b' } });
exports.text = () => 'just text';
exports.bytes = () => Buffer.from([0, 1, 255]);
exports.nothing = () => {};
exports.number = () => 42;
exports.array = () => [1, 2];
exports.lookalike = () => ({ status: 200, name: 'not an answer' });
exports.readable = () => Readable.from(['a', 'b', 'c']);
exports.generator = function* () { yield 'x'; yield 'y'; };
exports.objects = async function* () { yield { n: 1 }; yield { n: 2 }; };
exports.web = () => new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('web')); c.close(); } });
exports.badJSON = (event) => event.body.name;
exports.throws = () => { throw new Error('by the handler'); };
exports.rejects = async () => { await null; throw new TypeError('later'); };
exports.badHeader = () => ({ status: 200, headers: { 'x-a': 'b\r\nx-evil: 1' }, body: '' });
exports.stray = () => { Promise.reject(new Error('nobody waits')); return new Promise(() => {}); };
exports.uncaught = (req, res) => { setTimeout(() => { throw new Error('nobody catches'); }, 1); };
exports.exits = () => process.exit(7);
exports.early = (req, res) => { res.writeEarlyHints({ link: '</a>' }); res.end('done'); };
exports.named = { fetch: (req) => new Response('object with fetch') };
exports.notAFunction = 17;
exports.child = () => require('child_process').execFileSync('/bin/sh', ['-c', 'ls -l /proc/self/fd']).toString();
exports.next = (req, res, next) => {
  if (req.url === '/fails') next(new Error('passed on'));
  else if (req.url === '/length') res.end(`${req.headers['content-length']} ${req.socket.readable} ${process.env.NODE_ENV}`);
  else next();
};
exports.responses = {
  async fetch(request) {
    const made = new Response('text', { headers: { 'x-a': 'b' } });
    const json = Response.json({ a: 1 }, { status: 201 });
    const looked = new Response('seen', { status: 202 });
    looked.headers.set('x-b', 'c');
    let refused = '';
    try {
      new Response('x', { status: 204 });
    } catch (err) {
      refused = err.name;
    }
    switch (request.path) {
      case '/json': return json;
      case '/looked': return looked;
      case '/bytes': return new Response(new Uint8Array([104, 105]));
      case '/empty': return new Response(null, { status: 204 });
      case '/redirect': return Response.redirect('http://x.test/', 307);
      case '/stream': return new Response(new Blob(['blob']).stream());
    }
    return Response.json([made instanceof Response, await made.text(), made.bodyUsed, made.headers.get('x-a'), await json.clone().json(),
      looked.ok, refused, Object.keys(globalThis).includes('Response'), typeof Response.light, new Response('a').headers.get('content-type')]);
  },
};
