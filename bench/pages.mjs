// What the chat page costs beside llama-server's, in turn in one browser, from the same little server:
//   node bench/pages.mjs --what ready|cpu --serval build/release/serval --model FILE
//                        [--peer FOLDER/llama-server --peer-page FOLDER] [--rounds 5] [--throttle 4]
// ready: milliseconds from navigation until one can type, each time with an empty cache. cpu: seconds of all of the
// browser's processes while 1,000 tokens stream at 200 a second. Both pages get their files gzipped, and everything but
// the stream from the real servers behind; the stream is the same text for both. The peer's page is llama.cpp's
// tools/ui/dist after `npm ci && npm run build` (bench/peers/build_llama_cpp.sh has the sources).
import { spawn } from 'node:child_process';
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { extname, join, normalize, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { browserCpu } from '../tests/web/cpu.mjs';
import { kBrowser } from '../tests/web/harness.mjs';

const root = resolve(import.meta.dirname, '..');
const { chromium } = createRequire(join(root, 'tests/web/package.json'))('playwright-core');
const { values: options } = parseArgs({ options: {
  what: { type: 'string', default: 'ready' }, serval: { type: 'string', default: join(root, 'build/release/serval') }, model: { type: 'string' },
  peer: { type: 'string' }, 'peer-page': { type: 'string' }, rounds: { type: 'string', default: '5' }, throttle: { type: 'string', default: '1' },
} });
const kTokens = 1000, kPerSecond = 200, kEnd = 'theveryend';
const kTypes = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json', '.png': 'image/png', '.ico': 'image/x-icon', '.woff2': 'font/woff2', '.webmanifest': 'application/manifest+json' };
const kPacked = new Set(['.html', '.js', '.css', '.svg', '.json', '.webmanifest']);

// Prose with a list and some code: what a chat is.
const kText = 'The serval hunts in **tall grass** and hears what moves below. It leaps high, lands on its prey, and eats at once.\n\n- long legs\n- large ears\n- short tail\n\n```python\ndef leap(height):\n    return height * 2\n```\n\nThen it rests in the shade until the sun is low and the grass is cool again.\n\n';
const kPieces = Array.from({ length: kTokens }, (_, i) => (i === kTokens - 1 ? ` ${kEnd}` : kText.match(/\s*\S+/g)[i % kText.match(/\s*\S+/g).length]));

async function started(command, args, ready) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  const found = new Promise((done, failed) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        log += text;
        const match = ready.exec(log);
        if (match) done(match[1]);
      });
    }
    child.once('exit', (code) => failed(new Error(`${command} ended with ${code}: ${log.slice(-2000)}`)));
  });
  return { url: await found, stop: () => child.kill('SIGKILL') };
}

// Files of `folder`, packed; one stream of our own; the rest from `upstream`.
async function front(folder, upstream) {
  const packed = new Map();
  const base = new URL(upstream);
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(request.url.split('?')[0]));
    if (request.method === 'POST' && path.endsWith('/v1/chat/completions')) {
      request.resume();
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
      const begin = performance.now();
      const chunk = (more) => `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', ...more })}\n\n`;
      for (const [i, content] of kPieces.entries()) {
        const wait = begin + (i * 1000) / kPerSecond - performance.now();
        if (wait > 1) await new Promise((done) => setTimeout(done, wait));
        response.write(chunk({ choices: [{ index: 0, delta: { content }, finish_reason: null }] }));
      }
      response.write(chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], timings: { cache_n: 0, prompt_n: 10, prompt_ms: 10, predicted_n: kTokens, predicted_ms: 5000, predicted_per_second: kPerSecond } }));
      return response.end('data: [DONE]\n\n');
    }
    const file = join(folder, path === '/' ? 'index.html' : path);
    if (request.method === 'GET' && existsSync(file) && statSync(file).isFile()) {
      const type = extname(file);
      const head = { 'content-type': kTypes[type] ?? 'application/octet-stream', 'cache-control': 'no-cache' };
      if (!kPacked.has(type)) return createReadStream(file).pipe(response.writeHead(200, head));
      if (!packed.has(file)) packed.set(file, gzipSync(readFileSync(file), { level: 9 }));
      return response.writeHead(200, { ...head, 'content-encoding': 'gzip' }).end(packed.get(file));
    }
    const { host: _, origin: __, ...headers } = request.headers;
    request.pipe(httpRequest({ host: base.hostname, port: base.port, path: request.url, method: request.method, headers: { ...headers, host: base.host } }, (reply) => {
      reply.pipe(response.writeHead(reply.statusCode, reply.headers));
    }).on('error', () => response.destroy()));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  for (const file of ['index.html']) await fetch(`http://127.0.0.1:${server.address().port}/${file}`);
  return { url: `http://127.0.0.1:${server.address().port}/`, stop: () => { server.closeAllConnections(); server.close(); } };
}

// The moment a visible box takes text.
const whenReady = () => {
  const timer = setInterval(() => {
    const box = document.querySelector('textarea:not([disabled])');
    if (!box || box.getClientRects().length === 0) return;
    clearInterval(timer);
    window.readyAt = performance.now();
  }, 4);
};

async function open(browser, url, bytes) {
  const context = await browser.newContext({ locale: 'en-US', viewport: { width: 1280, height: 800 }, serviceWorkers: 'block' });
  await context.addInitScript(whenReady);
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send('Network.enable');
  session.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes.sum += encodedDataLength));
  if (Number(options.throttle) > 1) await session.send('Emulation.setCPUThrottlingRate', { rate: Number(options.throttle) });
  await page.goto(url, { waitUntil: 'commit' });
  const handle = await page.waitForFunction(() => window.readyAt, null, { timeout: 60_000 });
  return { context, page, ready: await handle.jsonValue() };
}

async function ready(browser, url) {
  const bytes = { sum: 0 };
  const { context, ready: ms } = await open(browser, url, bytes);
  const before = bytes.sum;
  await context.close();
  return { value: ms, bytes: before };
}

async function cpu(browser, url) {
  const bytes = { sum: 0 };
  const { context, page } = await open(browser, url, bytes);
  await page.waitForTimeout(2500);
  const box = page.locator('textarea:visible').first();
  await box.fill('go');
  const begin = browserCpu();
  await box.press('Enter');
  await page.waitForFunction((end) => document.body.textContent.includes(end), kEnd, { timeout: 60_000, polling: 500 });
  await page.waitForTimeout(1000);
  const value = browserCpu() - begin;
  await context.close();
  return { value, bytes: 0 };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const stops = [];
try {
  const own = await started(options.serval, ['serve', options.model, '--port', '0', '--no-access-log', '--no-machine-limits', '-c', '4096'], /listening on (http:\S+)/);
  stops.push(own.stop);
  const pages = { serval: await front(join(root, 'web/dist'), own.url) };
  if (options.peer) {
    const port = 20_000 + (process.pid % 20_000);
    const peer = await started(options.peer, ['-m', options.model, '--host', '127.0.0.1', '--port', String(port), '-c', '4096', '--path', options['peer-page']], /listening on (http:\S+)/);
    stops.push(peer.stop);
    pages['llama-server'] = await front(options['peer-page'], `http://127.0.0.1:${port}`);
  }
  for (const page of Object.values(pages)) stops.push(page.stop);
  const browser = await chromium.launch(kBrowser);
  stops.push(() => browser.close());
  const measure = options.what === 'cpu' ? cpu : ready;
  const found = Object.fromEntries(Object.keys(pages).map((name) => [name, { values: [], bytes: 0 }]));
  for (let round = options.what === 'cpu' ? 0 : -1; round < Number(options.rounds); round++) {
    for (const name of round % 2 === 0 ? Object.keys(pages) : Object.keys(pages).reverse()) {
      const { value, bytes } = await measure(browser, pages[name].url);
      if (round < 0) continue; // a first look warms the disk
      found[name].values.push(value);
      found[name].bytes = bytes;
    }
  }
  const unit = options.what === 'cpu' ? 's' : 'ms';
  const digits = (value) => Number(value.toFixed(options.what === 'cpu' ? 2 : 0));
  const out = { what: options.what, unit, rounds: Number(options.rounds), throttle: Number(options.throttle), browser: browser.version(), cores: cpus().length };
  for (const [name, { values, bytes }] of Object.entries(found)) {
    out[name] = { median: digits(median(values)), all: values.map(digits), ...(bytes > 0 && { kilobytes_until_then: Math.round(bytes / 1000) }) };
  }
  if (found['llama-server']) out.ratio = Number(median(found.serval.values.map((value, i) => found['llama-server'].values[i] / value)).toFixed(2));
  console.log(JSON.stringify(out));
} finally {
  for (const stop of stops.reverse()) await stop();
}
process.exit(0);
