// The chat, in a real browser, with a real model: everything a person does with it.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { answered, contextForEach, openChat, send, shared } from './harness.mjs';

const here = shared([]);
contextForEach(here);

// Short answers that are the same every time.
async function brief(page, tokens = 24) {
  await page.click('#open-settings');
  await page.fill('#set-temperature', '0');
  await page.fill('#set-max_tokens', String(tokens));
  await page.keyboard.press('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
}

const own = (page) => page.locator('.message.user .own').allTextContents();

test('a message is answered, with its figures', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page);
  await send(page, 'What is the capital of France?');
  const answer = await answered(page);
  const alone = await (await fetch(`${here.server.url}/v1/chat/completions`, {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'What is the capital of France?' }], temperature: 0, max_tokens: 24 }),
  })).json();
  assert.equal((await answer.locator('.markdown').innerText()).replace(/\s+/g, ' ').trim(), alone.choices[0].message.content.replace(/\s+/g, ' ').trim());
  assert.match(await answer.locator('.stats').innerText(), /tokens\/s · first after [\d.]+ s · \d+ % of the prompt cached · \d+ tokens/);
  assert.match(await page.locator('#composer-status').innerText(), /of 8,192 tokens of context/);
  assert.equal(await page.title(), 'What is the capital of France? · Serval');
});

test('an answer can be stopped, keeps what came, and is continued', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page, 2000);
  await send(page, 'Tell me a very long story about a mountain.');
  await page.waitForFunction(() => (document.querySelector('.message.assistant .markdown')?.textContent.length ?? 0) > 40);
  await page.keyboard.press('Escape');
  const answer = await answered(page, 5000);
  assert.equal(await answer.locator('.note').innerText(), 'Stopped.');
  const kept = (await answer.locator('.markdown').innerText()).trim();
  assert.ok(kept.length > 20);
  await answer.getByRole('button', { name: 'Continue' }).click();
  await page.waitForFunction((length) => (document.querySelector('.message.assistant .markdown')?.textContent.length ?? 0) > length + 40, kept.length);
  await page.click('#send');
  const longer = await (await answered(page, 5000)).locator('.markdown').innerText();
  assert.ok(longer.replace(/\s+/g, ' ').startsWith(kept.slice(0, 20).replace(/\s+/g, ' ')));
});

test('branches: answer again, edit, go back and forth, over a reload', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page, 12);
  await send(page, 'Name a colour.');
  await answered(page);
  await page.getByRole('button', { name: 'Answer again' }).click();
  await answered(page);
  assert.equal(await page.locator('.message.assistant .branches').innerText(), '2/2');
  await page.locator('h1').click();
  await page.keyboard.press('[');
  await page.waitForFunction(() => document.querySelector('.message.assistant .branches')?.textContent === '1/2');

  await page.focus('#message-box');
  await page.keyboard.press('ArrowUp');
  await page.fill('.edit-box', 'Name an animal.');
  await page.keyboard.press('Enter');
  await answered(page);
  assert.deepEqual(await own(page), ['Name an animal.']);
  assert.equal(await page.locator('.message.user .branches').innerText(), '2/2');
  await page.getByRole('button', { name: 'Previous version' }).first().click();
  await page.waitForFunction(() => document.querySelector('.own')?.textContent === 'Name a colour.');
  await page.reload();
  await page.waitForSelector('.message.assistant .markdown');
  assert.deepEqual(await own(page), ['Name a colour.']);
  assert.equal(await page.locator('.message.user .branches').innerText(), '1/2');
});

test('a reload in the middle of an answer loses nothing typed and keeps what came', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page, 3000);
  await send(page, 'Tell me a very long story about a river.');
  await page.waitForFunction(() => (document.querySelector('.message.assistant .markdown')?.textContent.length ?? 0) > 300);
  await page.fill('#message-box', 'half a thou');
  await page.reload();
  await page.waitForSelector('.message.assistant .markdown');
  assert.deepEqual(await own(page), ['Tell me a very long story about a river.']);
  assert.ok((await page.locator('.message.assistant .markdown').innerText()).length > 100);
  assert.match(await page.locator('.message.assistant .note').innerText(), /interrupted/);
  assert.equal(await page.inputValue('#message-box'), 'half a thou');
});

test('an answer goes on while another conversation or the monitor is open', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page, 300);
  await send(page, 'Write about the sea.');
  await page.waitForFunction(() => document.querySelector('.message.assistant .markdown')?.textContent.length > 20);
  await page.click('#new-chat');
  await page.click('#to-monitor');
  await page.waitForSelector('h1:has-text("Monitor")');
  await page.goBack();
  await page.getByRole('button', { name: 'Write about the sea.', exact: true }).click();
  const answer = await answered(page);
  assert.match(await answer.locator('.stats').innerText(), /tokens\/s/);
});

test('export, delete, import: everything comes back', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page, 12);
  await send(page, 'Say hello to the wildcat.');
  await answered(page);
  const before = await page.locator('.message.assistant .markdown').innerText();
  await page.click('#open-settings');
  const [file] = await Promise.all([page.waitForEvent('download'), page.click('#export-all')]);
  const path = join(mkdtempSync(join(tmpdir(), 'serval-')), 'all.json');
  await file.saveAs(path);
  assert.equal(JSON.parse(readFileSync(path, 'utf8')).conversations.length, 1);
  await page.keyboard.press('Escape');
  await page.locator('.conversations li').first().hover();
  await page.getByRole('button', { name: /^Delete/ }).click();
  await page.locator('dialog .danger').click();
  await page.waitForSelector('.conversations .empty');

  await page.click('#open-settings');
  await page.setInputFiles('#import-file', path);
  await page.waitForSelector('.toast:has-text("One conversation imported.")');
  // Again: the same conversation is taken in beside the first, not over it.
  await page.setInputFiles('#import-file', path);
  await page.waitForFunction(() => document.querySelectorAll('.conversations li').length === 2);
  const hostile = join(mkdtempSync(join(tmpdir(), 'serval-')), 'hostile.json');
  for (const text of ['{', '{"format":"serval-conversations","conversations":[{"conversation":{"id":1},"messages":[]}]}', '[]']) {
    writeFileSync(hostile, text);
    await page.setInputFiles('#import-file', hostile);
    await page.locator('.toast.error').last().waitFor();
  }
  await page.keyboard.press('Escape');
  await page.locator('.conversation').first().click();
  await page.waitForSelector('.message.assistant .markdown');
  assert.equal(await page.locator('.message.assistant .markdown').innerText(), before);
});

test('search finds words of messages', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page, 8);
  for (const text of ['About the aardvark.', 'About the zebra.']) {
    await page.click('#new-chat');
    await send(page, text);
    await answered(page);
  }
  await page.keyboard.press('Control+k');
  await page.keyboard.type('zebra');
  await page.waitForFunction(() => document.querySelectorAll('.conversations li').length === 1);
  assert.match(await page.locator('.conversations li').innerText(), /zebra/);
  await page.fill('.search', 'no such word');
  await page.waitForSelector('.conversations .empty');
});

test('a text file is attached and read; what is no text is refused', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page, 16);
  await page.setInputFiles('.composer input[type=file]', [
    { name: 'note.txt', mimeType: 'text/plain', buffer: Buffer.from('The password is swordfish.') },
    { name: 'picture.png', mimeType: 'image/png', buffer: Buffer.from([0x89, 0x50, 0, 0xff]) },
  ]);
  await page.waitForSelector('.toast.error:has-text("picture.png is not a text file")');
  const [request] = await Promise.all([
    page.waitForRequest(/chat\/completions/),
    send(page, 'What does the file say?'),
  ]);
  assert.match(request.postDataJSON().messages.at(-1).content, /File note\.txt:\n```\nThe password is swordfish\.\n```/);
  await answered(page);
  assert.match(await page.locator('.attached summary').innerText(), /note\.txt/);
});

test('probabilities: what else could have been said, and branch there', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page, 12);
  await send(page, 'Name a colour of the sky.');
  const answer = await answered(page);
  const said = (await answer.locator('.markdown').innerText()).trim();
  await answer.getByRole('button', { name: 'Token probabilities' }).click();
  await page.waitForSelector('.token');
  const tokens = await page.locator('.token').allTextContents();
  assert.equal(tokens.join('').replace(/↵/g, '').trim(), said);
  await page.locator('.token').nth(1).hover();
  const shares = (await page.locator('.alternatives .number').allTextContents()).map(parseFloat);
  assert.ok(shares.length >= 5 && shares.reduce((a, b) => a + b) <= 101);
  await page.locator('.alternatives button').first().click();
  await answered(page);
  const other = (await page.locator('.message.assistant .markdown').innerText()).trim();
  assert.ok(other.startsWith(tokens[0].trim()) && other !== said, other);
  assert.equal(await page.locator('.message.assistant .branches').innerText(), '2/2');
});

test('?q= only fills the box', async () => {
  const page = await openChat(here.context, here.server.url, '/?q=Delete%20all%20files');
  await page.waitForTimeout(500);
  assert.equal(await page.inputValue('#message-box'), 'Delete all files');
  assert.equal(await page.locator('.message').count(), 0);
});

test('the settings show the server’s defaults and reach the server', async () => {
  const page = await openChat(here.context, here.server.url);
  await page.waitForSelector('.chip:has-text("smollm2")');
  await page.click('#open-settings');
  assert.equal(await page.getAttribute('#set-temperature', 'placeholder'), '0.8');
  await page.fill('#set-system', 'You are terse.');
  await page.fill('#set-top_k', '7');
  await page.fill('#set-max_tokens', '4');
  await page.keyboard.press('Escape');
  const [request] = await Promise.all([page.waitForRequest(/chat\/completions/), send(page, 'Hi')]);
  const body = request.postDataJSON();
  assert.deepEqual(body.messages[0], { role: 'system', content: 'You are terse.' });
  assert.equal(body.top_k, 7);
  assert.equal(body.temperature, undefined);
  await answered(page);
  assert.match(await page.locator('.message.assistant .note').innerText(), /limit of tokens/);
});

test('German, chosen in the settings', async () => {
  const page = await openChat(here.context, here.server.url);
  await page.click('#open-settings');
  await Promise.all([page.waitForNavigation(), page.selectOption('#set-language', 'de')]);
  await page.waitForSelector('h2:has-text("Worüber denken wir nach?")');
  assert.equal(await page.getAttribute('html', 'lang'), 'de');
});

test('a phone: nothing is wider than 320 pixels', async () => {
  const page = await openChat(here.context, here.server.url);
  await brief(page, 40);
  await page.setViewportSize({ width: 320, height: 640 });
  await send(page, 'A_very_long_word_'.repeat(30) + ' explain this');
  await answered(page);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 320, `${width} pixels wide`);
  await page.click('#toggle-menu');
  await page.waitForSelector('#new-chat:visible');
});
