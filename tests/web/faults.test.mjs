// What goes wrong: keys, a server that dies, a full disk. Tabs that are killed: kills.test.mjs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answered, contextForEach, openChat, send, shared, startServer } from './harness.mjs';

const here = shared();
contextForEach(here);

const limit = (page, tokens) => page.evaluate((max_tokens) =>
  localStorage.setItem('serval.last', JSON.stringify({ system: '', sampling: { temperature: 0, max_tokens } })), tokens)
  .then(() => page.reload()).then(() => page.waitForSelector('#message-box'));

test('a server with keys asks for one, and again for a wrong one', async () => {
  const server = await startServer([], { env: { SERVAL_API_KEY: 'open-sesame' } });
  try {
    const page = await openChat(here.context, server.url);
    await page.waitForSelector('dialog #key-input');
    await page.fill('#key-input', 'wrong');
    await page.keyboard.press('Enter');
    await page.waitForSelector('dialog:has-text("not accepted")');
    await page.fill('#key-input', 'open-sesame');
    await page.keyboard.press('Enter');
    await page.waitForSelector('.chip:has-text("smollm2")');
    await limit(page, 8);
    await send(page, 'Hello');
    await answered(page);
    assert.ok((await page.locator('.message.assistant .markdown').innerText()).length > 0);
    assert.ok(!page.url().includes('sesame'));
    assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes('sesame')), false);
  } finally {
    await server.stop();
  }
});

test('a server that dies in the middle: the answer so far stays, plain words, nothing typed is lost, and it goes on when the server is back', async () => {
  const server = await startServer();
  const page = await openChat(here.context, server.url);
  await limit(page, 3000);
  await send(page, 'Write a long story.');
  await page.waitForFunction(() => (document.querySelector('.message.assistant .markdown')?.textContent.length ?? 0) > 60);
  await page.fill('#message-box', 'Are you');
  await server.stop();
  const answer = await answered(page, 5000);
  assert.match(await answer.locator('.note').innerText(), /connection to the server was lost/);
  assert.ok((await answer.locator('.markdown').innerText()).length > 20);
  assert.equal(await page.inputValue('#message-box'), 'Are you');
  await send(page, 'Are you there?');
  await page.locator('.message.assistant .note').last().filter({ hasText: /does not answer/ }).waitFor({ timeout: 20_000 });
  assert.deepEqual(await page.locator('.own').allTextContents(), ['Write a long story.', 'Are you there?']);
  const again = await startServer([], { port: new URL(server.url).port });
  try {
    await limit(page, 8);
    await send(page, 'And now?');
    const last = await answered(page);
    assert.ok((await last.locator('.markdown').innerText()).length > 0);
    assert.equal(await page.locator('.own').count(), 3);
  } finally {
    await again.stop();
  }
});

test('a clock that jumps: versions, conversations and the monitor stay whole', async () => {
  const server = await startServer();
  const days = async (n) => page.evaluate((ms) => {
    const { now } = window.realDate ??= { now: Date.now };
    Date.now = () => now.call(Date) + ms;
  }, n * 86_400_000);
  const page = await openChat(here.context, server.url);
  try {
    await limit(page, 6);
    await send(page, 'First');
    await answered(page);
    await days(-400);
    await page.getByRole('button', { name: 'Answer again' }).click();
    await page.waitForSelector('.branches');
    await answered(page);
    await days(400);
    await send(page, 'Second');
    const answer = await answered(page);
    assert.doesNotMatch(await answer.locator('.stats').innerText(), /-\d|NaN/);
    await page.keyboard.press('Escape');
    await page.reload();
    await page.waitForSelector('.branches');
    assert.deepEqual(await page.locator('.own').allTextContents(), ['First', 'Second'], 'the path that was shown');
    assert.match(await page.locator('.branches').innerText(), /[12]\/2/);
    await page.goto(`${server.url}/monitor`);
    await page.waitForSelector('.status.live');
    for (const n of [-400, 400, 0]) {
      await days(n);
      const seen = await page.locator('.facts').innerText();
      assert.match(seen, /up \d+ s/);
      const before = await page.locator('.requests tbody tr').count();
      await fetch(`${server.url}/v1/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"prompt": "x", "max_tokens": 2}' });
      await page.waitForFunction((rows) => document.querySelectorAll('.requests tbody tr').length > rows, before);
      assert.doesNotMatch(await page.locator('.monitor').innerText(), /NaN|-\d+ (ms|s)\b.*in the queue/);
    }
  } finally {
    await server.stop();
  }
});

// The browser's own quota is only looked at now and then; what it then does is done here at will: the transaction aborts.
const refuseLarge = () => {
  const { put } = IDBObjectStore.prototype, { commit } = IDBTransaction.prototype;
  IDBTransaction.prototype.commit = function () {
    if (!window.full) commit.call(this);
  };
  IDBObjectStore.prototype.put = function (value) {
    const request = put.call(this, value);
    if (window.full && value.text?.length > 100_000) request.addEventListener('success', () => this.transaction.abort());
    return request;
  };
};

test('a full quota: a plain message, nothing is lost, and it is saved once there is room', async () => {
  const server = await startServer();
  try {
    await here.context.addInitScript(refuseLarge);
    const page = await openChat(here.context, server.url);
    await limit(page, 8);
    await send(page, 'Before it was full.');
    await answered(page);
    await page.evaluate(() => (window.full = true));
    await send(page, 'x'.repeat(200_000));
    await page.waitForSelector('.banner:has-text("no room left")');
    await answered(page);
    assert.match(await page.locator('.banner').innerText(), /no room left/);
    await page.evaluate(() => (window.full = false));
    await send(page, 'Now there is room.');
    await answered(page);
    assert.equal(await page.locator('.banner').innerText(), '');
    await page.reload();
    await page.waitForSelector('.own');
    const lengths = (await page.locator('.own').allTextContents()).map((text) => text.length);
    assert.deepEqual(lengths, ['Before it was full.'.length, 200_000, 'Now there is room.'.length]);
  } finally {
    await server.stop();
  }
});
