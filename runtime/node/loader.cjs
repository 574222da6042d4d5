'use strict';
// Hearth's loader for Node (18 or newer): started without user code, given code
// by LOAD, called by REQUEST. ../PROTOCOL.md is the contract, README.md says how
// handlers are called.

const net = require('net');
const path = require('path');
const { AsyncLocalStorage } = require('async_hooks');
const { Conn, ...W } = require('./wire.cjs');
const { Call } = require('./call.cjs');
const { load, LoadError, clean } = require('./load.cjs');
const { runner } = require('./styles.cjs');
const { upgrade } = require('./http.cjs');
const { isPromise } = require('util').types;
const logs = require('./logs.cjs');
const response = require('./response.cjs');

const listenFd = Number(process.env.HEARTH_LISTEN_FD || 3);
delete process.env.HEARTH_LISTEN_FD;
const urgent = process.env.HEARTH_URGENT === '1'; // a call waits: it would wait for warming up, too
delete process.env.HEARTH_URGENT;
const compile = process.env.HEARTH_COMPILE !== undefined; // no host: see start.cjs
delete process.env.HEARTH_COMPILE;

let control;          // the control connection
let loading = false;  // LOAD was received
let draining = false;
let dying = false;    // an uncaught exception was seen
let open = 0;         // calls without a complete answer
let current;          // the call that runs, with concurrency 1
let tracker;          // AsyncLocalStorage of calls, with more
let onUpgrade;

const exit = process.exit.bind(process);

function leave(status) {
  logs.flush();
  if (control !== undefined) control.flush();
  if (control === undefined || control.socket.writableLength === 0) exit(status);
  control.socket.end(() => exit(status));
  setTimeout(exit, 1000, status);
}

// whenQuiet leaves once no call is open, after a look at what has arrived on
// other connections: a call sent before DRAIN may be read after it.
function whenQuiet() {
  setImmediate(() => setImmediate(() => {
    if (open === 0) leave(0);
  }));
}

const hooks = {
  run(call, fn, self, a, b, c) { return fn.call(self, a, b, c); },
  failed(call, err) {
    if (call.gone || call.done) return;
    const status = err !== null && typeof err === 'object' ? err.status ?? err.statusCode : undefined;
    if (Number.isInteger(status) && status >= 400 && status < 500 && !call.started) {
      call.text(status, 'text/plain; charset=utf-8', `${err.message}\n`);
      return;
    }
    logs.error(call.id, clean(err) + '\n');
    if (call.started) call.break('the function failed');
    else call.text(500, 'text/plain; charset=utf-8', `the function failed; its log says why (request ${call.id})\n`);
  },
};

function track(concurrency) {
  if (concurrency <= 1) {
    logs.attribute(() => (current === undefined ? '' : current.id));
    return;
  }
  tracker = new AsyncLocalStorage();
  logs.attribute(() => tracker.getStore()?.id ?? '');
  hooks.run = (call, fn, self, a, b, c) => tracker.run(call, () => fn.call(self, a, b, c));
}

function ended(call) {
  open--;
  logs.flush(call.id);
  if (current === call) current = undefined;
  if (open === 0) {
    if (dying) setImmediate(leave, 1);
    else if (draining) whenQuiet();
  }
}

// become loads the code of a LOAD and says what came of it.
function become(spec, say) {
  const began = performance.now();
  for (const [k, v] of Object.entries(spec.env ?? {})) process.env[k] = v;
  process.env.NODE_ENV ??= 'production';
  try {
    process.chdir(spec.code);
  } catch {}
  return load(spec.code, spec.handler ?? '').then((h) => {
    track(spec.concurrency ?? 1);
    answerCall = runner(h.style, h.fn, h.self, spec, hooks);
    onUpgrade = h.upgrade;
    say(W.LOADED, { ms: Math.round((performance.now() - began) * 1000) / 1000 });
  }).catch((err) => {
    const known = err instanceof LoadError;
    say(W.FAILED, {
      message: known ? err.message : String(err),
      traceback: known ? err.traceback : clean(err),
      stage: known ? err.stage : 'import',
    });
  });
}

let answerCall = runner('event', () => 'warm', undefined, {}, hooks);

const host = {
  hello(conn) {
    if (conn.role === 'control' && control === undefined) {
      control = conn;
      logs.connect(conn);
    }
  },
  request(conn, stream, flags, b, o, end) {
    const call = new Call(conn, stream, flags, b, o, end);
    conn.calls.set(stream, call);
    call.finished = ended;
    open++;
    current = call;
    if (onUpgrade !== undefined && call.header('upgrade') !== undefined) {
      try {
        const v = hooks.run(call, upgrade, undefined, call, onUpgrade);
        if (isPromise(v)) v.catch((err) => hooks.failed(call, err));
      } catch (err) {
        hooks.failed(call, err);
      }
      return;
    }
    answerCall(call);
  },
  load(spec) {
    if (loading) {
      control.json(W.FAILED, { message: 'this instance has its code already', traceback: '', stage: 'handler' });
      return;
    }
    loading = true;
    become(spec, (type, v) => control.json(type, v));
  },
  drain() {
    draining = true;
    whenQuiet();
  },
  closed(conn) {
    if (conn === control) exit(0);
  },
};

// A stray rejection fails the call it belongs to and the instance goes on; an
// uncaught exception fails the call too, and the instance ends with status 1,
// as Node would, once the calls that are open have their answers.
function stray(err, fatal) {
  const call = tracker !== undefined ? tracker.getStore() : current;
  const what = fatal ? 'Uncaught exception: ' : 'Unhandled rejection: ';
  if (call !== undefined && !call.done && !call.gone) {
    logs.error(call.id, what);
    hooks.failed(call, err !== null && typeof err === 'object' && (err.status || err.statusCode) ? new Error(err.message, { cause: err }) : err);
  } else logs.error(call !== undefined ? call.id : '', what + clean(err) + '\n');
  if (!fatal) return;
  dying = true;
  if (open === 0) setImmediate(leave, 1);
  else setTimeout(leave, 5000, 1).unref();
}

async function warmUp() {
  // Whatever the first call of user code would otherwise load lazily.
  const dynamic = require('./import.cjs');
  await dynamic('data:text/javascript,export default 1');
  await dynamic('./warm.mjs');
  // Three times the way every function goes: V8 compiles lazily, and this is
  // more than half of what the first load would take.
  const cwd = process.cwd();
  for (let i = 0; i < 3; i++) {
    await become({ code: __dirname, env: { NODE_ENV: process.env.NODE_ENV ?? 'production' } }, JSON.stringify);
    delete require.cache[path.join(__dirname, 'handler.js')];
  }
  process.chdir(cwd);
  require('http');
  void new Response('x', { headers: { a: 'b' } }).body;
  void new Request('http://localhost/').headers;
  new AbortController().abort();
  new URLSearchParams('a=b').get('a');
  new URL('http://localhost/');
  void structuredClone({});
}

function hide() {
  for (const k of Object.keys(require.cache)) if (path.dirname(k) === __dirname) delete require.cache[k];
  process.argv.length = 1;
  process.argv[1] = path.join(process.cwd(), 'index.js');
  if (require.main) {
    require.main.children.length = 0;
    require.main.paths.length = 0;
  }
}

// listen is server.listen without package cluster, which is a twentieth of a start.
function listen(server) {
  try {
    server._listen2(null, null, null, 511, listenFd);
  } catch {} // a Node that has it no more, or otherwise
  if (!server.listening) server.listen({ fd: listenFd });
}

response.install();
module.exports.exercise = (urgent ? Promise.resolve() : warmUp()).then(() => {
  logs.install();
  hide();
  process.on('uncaughtException', (err) => stray(err, true));
  process.on('unhandledRejection', (err) => stray(err, false));
  process.on('SIGTERM', () => host.drain());
  process.on('exit', () => {
    logs.flush();
    if (control !== undefined) control.flush();
  });
  const hello = { version: 1, runtime: 'node', runtimeVersion: process.versions.node, loader: '1' };
  const accept = (socket) => void new Conn(socket, host, hello);
  if (compile) return require('./exercise.cjs')(accept, __dirname);
  listen(net.createServer({ allowHalfOpen: false, noDelay: false }, accept));
  return undefined;
});
