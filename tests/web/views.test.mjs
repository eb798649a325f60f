// The ten views of the monitor, from a real run under mixed load: each number on the page against /metrics, the trace
// and the server's own replies. The tenth view's watts, and speculation, are only there where the machine and the
// engine have them: else the page must say so, or show nothing.
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { answered, send, startBrowser, startServer, watch } from './harness.mjs';

const kKeys = { alice: 'alice-key-0123456789', bob: 'bob-key-0123456789', root: 'root-key-0123456789' };
const kPrefix = 'The mill stands by the river and turns all day, and the miller counts his sacks. '.repeat(8);
let browser, server, context, faults, page, frames, trace, snapshot, texts, epoch;

const headers = (key) => ({ 'content-type': 'application/json', authorization: `Bearer ${kKeys[key]}` });
const admin = async (path) => (await fetch(server.url + path, { headers: headers('root') })).json();
const ask = async (key, prompt, max_tokens) => (await fetch(`${server.url}/v1/completions`, {
  method: 'POST', headers: headers(key), body: JSON.stringify({ prompt, max_tokens, ignore_eos: true, temperature: 0 }),
})).json();

// As the page writes numbers.
const short = (value) => new Intl.NumberFormat('en', { maximumFractionDigits: value < 1 ? 2 : value < 20 ? 1 : 0, minimumFractionDigits: value < 1 ? 2 : value < 20 ? 1 : 0 }).format(value);
const whole = (value) => new Intl.NumberFormat('en').format(Math.round(value));
const duration = (ms) => (ms === null ? '–' : ms < 1000 ? `${short(ms)} ms` : `${short(ms / 1000)} s`);
const number = (text) => Number(text.replace(/[,\s]/g, '').replace(/[^\d.].*$/, ''));

// Rows of a table by the accessible name of what surrounds it.
const table = (label) => page.$$eval(`section[aria-label="${label}"] .panel-twin tbody tr`, (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
const tab = async (name) => {
  await page.click(`#tab-${name}`);
  await page.waitForSelector(`#tab-panel[aria-labelledby="tab-${name}"] table, #tab-panel[aria-labelledby="tab-${name}"] ul`);
  await page.waitForTimeout(400);
  return page.$$eval('#tab-panel table', (tables) => tables.map((one) => [...one.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()))));
};
const metric = (name, label = '') => {
  const line = texts.split('\n').find((row) => row.startsWith(`${name}{`) && row.includes(label));
  assert.ok(line, `${name} ${label}`);
  return Number(line.slice(line.lastIndexOf(' ') + 1));
};

// A second viewer with the page's rate: both get the same frames.
async function collect(into, signal) {
  const response = await fetch(`${server.url}/admin/monitor/stream?hz=2`, { headers: headers('root'), signal });
  let rest = '';
  try {
    for await (const piece of response.body) {
      rest += Buffer.from(piece).toString();
      const events = rest.split('\n\n');
      rest = events.pop();
      for (const event of events) {
        const name = /^event: (.*)$/m.exec(event)?.[1];
        if (name) into.push({ name, data: JSON.parse(/^data: (.*)$/m.exec(event)[1]) });
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

before(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'serval-views-'));
  writeFileSync(join(folder, 'keys'), `${kKeys.alice} alice\n${kKeys.bob} bob\n${kKeys.root} root admin\n`);
  browser = await startBrowser();
  server = await startServer(['--keys', join(folder, 'keys'), '-np', '6', '--kv-cache-dir', join(folder, 'kv')], { context: 1024 });
  context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-US' });
  faults = await watch(context);
  await context.addInitScript((key) => location.protocol.startsWith('http') && sessionStorage.setItem('serval.key', key), kKeys.root);
  page = await context.newPage();
  await page.goto(`${server.url}/monitor`);
  await page.waitForSelector('.status.live');
  frames = [];
  const viewing = new AbortController();
  const viewer = collect(frames, viewing.signal);
  // Streams, long prompts and equal beginnings, of two keys, in a pool too small for all at once.
  const story = 'Once upon a time there was a cat who lived in a tower and read old books. '.repeat(20);
  const first = await ask('alice', `${kPrefix} One.`, 1);
  assert.ok(first.usage.prompt_tokens > 100);
  // Answers were short until now, so the scheduler expects no long ones.
  for (let i = 0; i < 12; i++) await ask(i % 2 ? 'alice' : 'bob', `Short ${i}:`, 1);
  // Every client asks again until the page has been held still, however fast the machine answers.
  let held = false;
  const again = async (key, prompt, most) => { do await ask(key, prompt, most); while (!held); };
  const load = Promise.all([
    ...[1, 2].map((i) => again('alice', `${kPrefix} Number ${i}`, 200)),
    ...[1, 2, 3].map((i) => again('alice', `Story ${i}:`, 400)),
    ...[1, 2, 3].map((i) => again('bob', `${i} ${story}`, 300)),
  ]);
  await new Promise((done) => setTimeout(done, 700));
  roofShown = await heldStill();
  held = true;
  await load;
  await new Promise((done) => setTimeout(done, 2600));
  viewing.abort();
  await viewer;
  // Nothing happens any more: every source must tell the same.
  for (let i = 0; i < 50; i++) {
    snapshot = await admin('/admin/monitor');
    if (snapshot.frame.q.run === 0 && snapshot.keys.rows.every((row) => row.run === 0)) break;
    await new Promise((done) => setTimeout(done, 100));
  }
  texts = await (await fetch(`${server.url}/metrics`, { headers: headers('root') })).text();
  trace = (await admin('/admin/trace?steps=4096')).traceEvents;
  const known = frames.find((event) => event.name === 'steps').data;
  epoch = trace.find((event) => event.name === `step ${known.first}`).ts - known.t[0];
  await page.keyboard.press('t');
  await page.waitForSelector('section[aria-label="KV cache"] .panel-twin tbody tr');
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

// What the tiles and the timeline show of one frame, in the middle of the load.
let roofShown;
async function heldStill() {
  await page.keyboard.press('t');
  await page.waitForTimeout(700);
  await page.click('#pause');
  await page.waitForSelector('.status.paused');
  const shown = {
    tiles: await page.$$eval('.tile', (tiles) => tiles.map((tile) => [tile.querySelector('.tile-value').textContent, tile.querySelector('.tile-sub').textContent, tile.querySelector('meter')?.value ?? null])),
    steps: await table('Steps of the engine'),
    rows: await page.$$eval('.requests tbody tr', (rows) => rows.map((row) => row.cells[1].textContent)),
  };
  await page.click('#pause');
  await page.waitForSelector('.status.live');
  await page.keyboard.press('t');
  return shown;
}

const stepEvent = (n) => trace.find((event) => event.name === `step ${n}`);
const spansOf = (event) => trace.filter((e) => e.ph === 'X' && e.tid !== 0 && e.ts === event.ts && e.dur === event.dur);

test('the load was mixed', () => {
  const kinds = new Set(trace.filter((e) => e.ph === 'X' && e.tid !== 0).map((e) => e.name.split(' ')[0]));
  assert.ok(kinds.has('prefill') && kinds.has('decode'));
  assert.ok(metric('vllm:num_preemptions_total') > 0, 'the pool was too large');
  assert.ok(kinds.has('recomputed'));
  assert.ok(metric('vllm:prefix_cache_hits_total') > 0);
});

test('1 timeline: every row is a step of the trace', () => {
  assert.ok(roofShown.steps.length > 5, `${roofShown.steps.length} steps`);
  for (const [n, begin, ms, predicted, rows, requests, gbs] of roofShown.steps) {
    const event = stepEvent(number(n));
    assert.equal(begin, `${new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format((event.ts - epoch) / 1e6)} s`);
    assert.deepEqual([ms, predicted, number(rows)], [short(event.dur / 1000), short(event.args.predicted_us / 1000), event.args.rows]);
    const letters = { prefill: 'P', decode: 'D', recomputed: 'R', speculative: 'S' };
    assert.equal(requests, spansOf(event).map((span) => `${span.tid}${letters[span.name.split(' ')[0]]}${span.args.rows}`).join(' '));
    assert.equal(gbs, short(event.args.gb_per_s));
  }
});

test('2 roofline gauges: a frame’s figures, which are those of the trace in its second', () => {
  const [decode, prefill, memory, compute, queue] = roofShown.tiles;
  const { limit_gbs, limit_gmacs } = snapshot.hello.machine;
  const found = frames.filter((event) => event.name === 'frame').map((event) => event.data).filter(({ tok, roof, q }) =>
    decode[0] === short(tok.dec) && prefill[0] === short(tok.pre) && memory[0] === short(roof.gbs) && compute[0] === short(roof.gmacs) && queue[0] === whole(q.run));
  assert.equal(found.length, 1, JSON.stringify(roofShown.tiles));
  const frame = found[0];
  assert.ok(frame.q.run + frame.q.wait > 1 && frame.roof.bound !== 'idle', JSON.stringify(frame));
  assert.ok(memory[1].startsWith(`${whole((100 * frame.roof.gbs) / limit_gbs)} % of ${short(limit_gbs)}`), memory[1]);
  assert.ok(compute[1].startsWith(`${whole((100 * frame.roof.gmacs) / limit_gmacs)} % of ${short(limit_gmacs)}`), compute[1]);
  assert.ok(Math.abs(memory[2] - Math.min(1, frame.roof.gbs / limit_gbs)) < 1e-3 && Math.abs(compute[2] - Math.min(1, frame.roof.gmacs / limit_gmacs)) < 1e-3);
  const now = frame.t_ms * 1000 + epoch;
  const steps = trace.filter((e) => e.name.startsWith('step ') && e.ts + e.dur > now - 1e6 && e.ts + e.dur <= now && Number(e.name.slice(5)) <= frame.seq);
  const us = steps.reduce((sum, e) => sum + e.dur, 0);
  const bytes = steps.reduce((sum, e) => sum + e.args.gb_per_s * e.dur, 0);
  assert.ok(Math.abs(frame.roof.gbs - bytes / us) <= 0.001 * frame.roof.gbs, `${frame.roof.gbs} ${bytes / us}`);
  const rows = (kind) => steps.flatMap(spansOf).filter((e) => e.name.startsWith(kind)).reduce((sum, e) => sum + e.args.rows, 0);
  assert.equal(frame.tok.pre, rows('prefill'));
  assert.equal(frame.tok.rec, rows('recomputed'));
});

test('throughput: the page’s history adds up to the counters', async () => {
  const history = await admin('/admin/monitor/history?span=1h');
  const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
  assert.equal(sum(history.mean.dec), metric('vllm:generation_tokens_total'));
  assert.equal(sum(history.evict), metric('vllm:num_preemptions_total'));
  const rows = (kind) => trace.filter((e) => e.ph === 'X' && e.tid !== 0 && e.name.startsWith(kind)).reduce((total, e) => total + e.args.rows, 0);
  assert.equal(sum(history.mean.pre), rows('prefill'));
  assert.equal(rows('prefill') + rows('decode') + rows('recomputed'), metric('serval:rows_total'));
});

test('3 predicted and real step time: the last steps of the trace', async () => {
  const shown = await table('Predicted and real step time');
  assert.ok(shown.length >= 60);
  for (const [n, real, predicted] of shown) {
    const { dur, args } = stepEvent(number(n));
    assert.deepEqual([real, predicted], [short(dur / 1000), args.predicted_us > 0 ? short(args.predicted_us / 1000) : '–']);
  }
  const all = trace.filter((e) => e.name.startsWith('step '));
  assert.equal(all.length, metric('serval:engine_steps_total'));
  assert.ok(Math.abs(all.reduce((sum, e) => sum + e.dur, 0) / 1e6 - metric('serval:step_seconds_sum')) < 1e-3);
  assert.ok(Math.abs(all.reduce((sum, e) => sum + e.args.predicted_us, 0) / 1e6 - metric('serval:step_predicted_seconds_total')) < 1e-3);
});

test('4 KV map: blocks by state are those of /metrics', async () => {
  const shown = Object.fromEntries((await table('KV cache')).map(([state, count]) => [state.replace(/^\S+ /, (letter) => (letter.trim().length === 1 ? '' : letter)), number(count)]));
  const cached = (shown.cached ?? 0) + (shown['cached, also on disk'] ?? 0);
  assert.equal(32 * cached, metric('serval:kv_cache_tokens_cached'), JSON.stringify(shown));
  assert.equal(32 * Object.values(shown).reduce((a, b) => a + b), metric('serval:kv_cache_tokens'));
  assert.equal(shown['in use'] ?? 0, 0);
});

test('6 queue and shares: rows of the trace by key, waits of the requests', async () => {
  const shown = Object.fromEntries((await table('Queue and shares')).map((row) => [row[0], row]));
  const { rows: keys } = snapshot.keys;
  const owner = new Map(snapshot.reqs.rows.map((row) => [row[0], keys.find((key) => key.key === row[1]).label]));
  const rows = { alice: 0, bob: 0 };
  for (const event of trace.filter((e) => e.ph === 'X' && e.tid !== 0)) rows[owner.get(event.tid)] += event.args.rows;
  for (const name of ['alice', 'bob']) {
    const [, run, wait, share, , wait50, wait99] = shown[name];
    assert.deepEqual([run, wait], ['0', '0']);
    assert.ok(Math.abs(number(share) - (100 * rows[name]) / (rows.alice + rows.bob)) <= 1, `${name} ${share} ${JSON.stringify(rows)}`);
    const waits = snapshot.reqs.rows.filter((row) => owner.get(row[0]) === name).map((row) => row[11][1] - row[11][0]).sort((a, b) => a - b);
    const at = (part) => waits[Math.floor(part * (waits.length - 1) + 0.5)];
    const near = (text, ms) => Math.abs(number(text) * (text.endsWith(' s') ? 1000 : 1) - ms) <= 0.06 * ms + 0.1;
    assert.ok(near(wait50, at(0.5)) && near(wait99, at(0.99)), JSON.stringify([name, wait50, wait99, waits]));
  }
  assert.ok(number(shown.bob[6]) > 0, 'someone waited');
});

test('7 waterfall: a request’s story is what the trace has of it', async () => {
  await page.selectOption('#request-sort', 'total');
  const open = page.locator('.requests [data-act="open"]').first();
  const id = Number(await open.innerText());
  const row = snapshot.reqs.rows.find((r) => r[0] === id);
  const cells = await page.locator('.requests tbody tr').first().locator('td').allTextContents();
  assert.deepEqual(cells.slice(3, 9), [whole(row[3]), whole(row[4]), whole(row[6]), duration(row[7]), duration(row[8]), duration(row[11][4] - row[11][0])]);
  await open.click();
  const story = await page.locator('dialog .story').innerText();
  const [queued, begun, first, last] = row[11];
  const mine = trace.filter((e) => e.ph === 'X' && e.tid === id);
  const rows = (kind) => mine.filter((e) => e.name.startsWith(kind)).reduce((sum, e) => sum + e.args.rows, 0);
  assert.ok(story.includes(`Waited ${duration(begun - queued)} in the queue`), story);
  assert.ok(story.includes(`The prompt took ${duration(first - begun)}: ${whole(rows('prefill'))} tokens computed, ${whole(row[4])} found in the cache.`), story);
  assert.ok(story.includes(`${whole(row[6])} tokens in ${duration(last - first)}, ${short((1000 * (row[6] - 1)) / (last - first))} a second.`), story);
  // Beside whom its prompt was read, where others' rows were more than its own.
  const reading = new Set(mine.filter((e) => !e.name.startsWith('decode')).map((e) => e.ts));
  const beside = trace.filter((e) => e.ph === 'X' && e.tid !== 0 && e.tid !== id && e.name.startsWith('prefill') && reading.has(e.ts)).reduce((sum, e) => sum + e.args.rows, 0);
  assert.equal(/In the same steps ([\d,]+) prompt rows/.exec(story)?.[1], beside > row[3] - row[4] ? whole(beside) : undefined);
  const begin = Math.min(...mine.map((e) => e.ts)) - epoch;
  assert.ok(Math.abs(begin / 1000 - begun) < 1, `${begin} ${begun}`);
  if (row[10] > 0) assert.ok(story.includes(row[10] === 1 ? 'taken once' : `taken ${row[10]} times`), story);
  await page.keyboard.press('Escape');
  const took = snapshot.reqs.rows.filter((r) => r[7] !== null);
  assert.equal(took.length, metric('vllm:time_to_first_token_seconds_count'));
  const mean = took.reduce((sum, r) => sum + r[7], 0) / 1000;
  assert.ok(Math.abs(mean - metric('vllm:time_to_first_token_seconds_sum')) < 0.02 * mean + 0.02 * took.length, 'the server’s clock starts before the queue');
});

test('latency: the tiles are the frame’s, the medians those of the trace within a bucket', async () => {
  const gaps = [];
  for (const row of snapshot.reqs.rows) {
    // The step that ended the prompt gave the first token, each later step of the request one more.
    const ends = trace.filter((e) => e.ph === 'X' && e.tid === row[0]).map((e) => e.ts + e.dur).filter((end) => (end - epoch) / 1000 >= row[11][2] - 0.5);
    const decodes = ends.slice(-row[6]);
    for (let i = 1; i < decodes.length; i++) gaps.push((decodes[i] - decodes[i - 1]) / 1000);
  }
  gaps.sort((a, b) => a - b);
  assert.equal(gaps.length, metric('vllm:inter_token_latency_seconds_count'));
  const median = gaps[Math.floor(gaps.length / 2)];
  const last = frames.filter((event) => event.name === 'frame').at(-1).data;
  assert.ok(Math.abs(last.lat.itl[0] - median) <= 0.13 * median + 0.2, `${last.lat.itl[0]} ${median}`);
  const tile = await page.$$eval('.tile', (tiles) => tiles.map((one) => [one.querySelector('h2').textContent, one.querySelector('.tile-value').textContent]));
  assert.equal(Object.fromEntries(tile)['Between tokens'], short(last.lat.itl[0]));
  assert.equal(Object.fromEntries(tile)['First token'], short(last.lat.ttft[0]));
});

test('8 speculation: nothing drafts here, so nothing is shown of it', async () => {
  assert.ok(!trace.some((e) => e.name.startsWith('speculative')));
  assert.ok(frames.filter((event) => event.name === 'frame').every(({ data }) => data.tok.spec === 0));
  assert.ok(snapshot.reqs.rows.every((row) => row[9] === null));
  assert.equal(await page.locator('.legend .kind3').isVisible(), false);
});

test('plan: what is read and computed is what /metrics counts by operator', async () => {
  const [operators, layers] = await tab('plan');
  const plan = await admin('/admin/monitor/plan');
  const all = operators.reduce((sum, row) => sum + number(row[3]), 0);
  for (const [name, , , ms, share, gbs] of operators) {
    const seconds = metric('serval:operator_seconds_total', `operator="${name}"`), bytes = metric('serval:operator_read_bytes_total', `operator="${name}"`);
    assert.ok(Math.abs(number(ms) - 1000 * seconds) <= 1, `${name} ${ms} ${seconds}`);
    assert.ok(Math.abs(number(share) - (100 * number(ms)) / all) <= 0.3, `${name} ${share}`);
    if (bytes > 0) assert.equal(gbs, short(bytes / seconds / 1e9), name);
  }
  assert.equal(layers.length, plan.rows.length);
  assert.equal(layers.filter((row) => row[1] === 'attention_in').length, snapshot.hello.model.layers);
  assert.ok(layers.filter((row) => row[5] !== '–').every((row) => /Q\w+ \[\d+ x \d+\]/.test(row[4])), 'formats');
  // Shared by two operators where the embedding is also the head.
  const weights = plan.rows.reduce((sum, row) => sum + row.weight_bytes, 0);
  assert.ok(weights >= plan.weight_bytes && weights < 2 * plan.weight_bytes);
});

test('tiers, log and doctor: the same counters once more, and no text', async () => {
  const [tiers] = await tab('tiers');
  assert.equal(number(tiers[0][5]), metric('serval:prefix_cache_hits_total', 'tier="memory"'));
  assert.equal(number(tiers[1][1]), metric('serval:disk_cache_blocks'));
  assert.equal(number(tiers[1][5]), metric('serval:prefix_cache_hits_total', 'tier="disk"'));
  assert.equal(number(tiers[2][5]), metric('serval:prompt_tokens_computed_total'));
  assert.match(tiers[1][4], new RegExp(`^${whole(metric('serval:disk_cache_blocks_total', 'outcome="written"'))} written`));

  const [lines] = await tab('log');
  const replies = lines.filter((line) => line[2] === 'reply' && line[3].includes('/v1/completions'));
  assert.equal(replies.length, snapshot.reqs.rows.length);
  for (const row of snapshot.reqs.rows) {
    const line = replies.find((one) => one[3].startsWith(`${row[0]} `))?.[3];
    assert.ok(line?.includes(`prompt_tokens ${row[3]} · cached_tokens ${row[4]} · completion_tokens ${row[6]}`), `${line} ${row}`);
  }
  assert.ok(lines.some((line) => line[2] === 'preempted'));
  assert.ok(!JSON.stringify(lines).includes('miller') && !JSON.stringify(lines).includes('0123456789'));

  await page.click('#tab-doctor');
  await page.waitForSelector('.doctor li');
  const findings = await page.$$eval('.doctor li', (items) => items.map((item) => [...item.children].map((part) => part.textContent)));
  const found = Object.fromEntries(findings.map(([status, name, value]) => [name, [status, value]]));
  assert.match(found.preemptions[0], /look here/);
  assert.match(found.preemptions[1], new RegExp(`^${metric('vllm:num_preemptions_total')} `));
  assert.match(found.sandbox[1], /^on/);
  assert.ok(found.processor && found['read bandwidth'] && found['memory left']);
});

test('10 power: watts where there is a meter, else why not', async () => {
  const tile = await page.$$eval('.tile', (tiles) => tiles.map((one) => [one.querySelector('.tile-value').textContent, one.querySelector('.tile-sub').textContent]).at(-1));
  if (snapshot.hello.power === 'ok') assert.match(tile[0], /\d/);
  else assert.deepEqual(tile, ['–', `not available: ${snapshot.hello.power}`]);
});

test('5 prefix tree: the cached blocks, with the hits that the load made', async () => {
  const [rows] = await tab('prefixes');
  const tree = await admin('/admin/monitor/prefixes');
  assert.equal(rows.length, tree.nodes.length);
  assert.equal(rows.reduce((sum, row) => sum + number(row[1]), 0), metric('serval:kv_cache_tokens_cached'));
  const nodes = new Map(tree.nodes.map((node) => [node.hash.slice(0, 10), node]));
  for (const [hash, tokens, , count, , , held] of rows) {
    const node = nodes.get(hash.split(' ')[0]);
    assert.deepEqual([number(tokens), number(count), number(held)], [node.tokens, node.hits, node.held]);
  }
  // Hits of blocks grow by what the next request finds, as /metrics counts it.
  const found = async () => ({
    tree: (await admin('/admin/monitor/prefixes')).nodes.reduce((sum, node) => sum + node.tokens * node.hits, 0),
    hits: Number(/^vllm:prefix_cache_hits_total\S* (\d+)$/m.exec(await (await fetch(`${server.url}/metrics`, { headers: headers('root') })).text())[1]),
  });
  await ask('alice', `${kPrefix} Warm.`, 1);
  const before = await found();
  await ask('alice', `${kPrefix} Again.`, 1);
  const now = await found();
  assert.ok(now.hits - before.hits >= 96 && now.tree - before.tree === now.hits - before.hits, JSON.stringify([before, now]));
});

test('9 token probabilities: those of the API', async () => {
  await page.evaluate(() => localStorage.setItem('serval.last', JSON.stringify({ system: '', sampling: { temperature: 0, max_tokens: 8 } })));
  await page.goto(server.url);
  await page.waitForSelector('#message-box');
  await send(page, 'Name a colour of the sky.');
  const answer = await answered(page);
  await answer.getByRole('button', { name: 'Token probabilities' }).click();
  await page.waitForSelector('.token');
  const reply = await (await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST', headers: headers('root'),
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Name a colour of the sky.' }], temperature: 0, max_tokens: 8, logprobs: true, top_logprobs: 5 }),
  })).json();
  const { content } = reply.choices[0].logprobs;
  const tokens = await page.locator('.token').allTextContents();
  for (let i = 0; i < tokens.length; i++) {
    await page.locator('.token').nth(i).focus();
    const shares = (await page.locator('.alternatives .number').allTextContents()).slice(0, 5);
    const percent = (logprob) => { const value = 100 * Math.exp(logprob); return `${new Intl.NumberFormat('en', { maximumFractionDigits: value < 10 ? 1 : 0, minimumFractionDigits: value < 10 ? 1 : 0 }).format(value)} %`; };
    assert.deepEqual(shares, content[i].top_logprobs.map((top) => percent(top.logprob)), `token ${i}`);
  }
  assert.deepEqual(faults, []);
});
