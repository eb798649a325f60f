// Tabs and whole browsers killed with SIGKILL while an answer streams, the same profile opened again: no conversation and
// no message is lost, and of an answer is there what was saved. SERVAL_WEB_KILLS=200 for the long run; with
// SERVAL_WEB_PROFILE=FOLDER it goes on with the profile of the run before.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { browserProcesses, send, startProfile, startServer } from './harness.mjs';

const kKills = Number(process.env.SERVAL_WEB_KILLS ?? 5);
const kSavedEvery = 2500; // ms: an answer is saved each second, and a busy machine is late
const folder = process.env.SERVAL_WEB_PROFILE ?? mkdtempSync(join(tmpdir(), 'serval-kills-'));
mkdirSync(folder, { recursive: true });
const list = join(folder, 'sent.json');

const stored = (page) => page.evaluate(() => new Promise((resolve) => {
  indexedDB.open('serval').onsuccess = ({ target }) => {
    const transaction = target.result.transaction(['messages', 'conversations']);
    const out = {};
    for (const name of ['messages', 'conversations']) transaction.objectStore(name).getAll().onsuccess = (all) => (out[name] = all.target.result);
    transaction.oncomplete = () => resolve(out);
  };
}));

async function open(url) {
  const profile = await startProfile(folder);
  await profile.addInitScript(() => location.protocol === 'http:' && localStorage.setItem('serval.last', JSON.stringify({ system: '', sampling: { temperature: 0, max_tokens: 900 } })));
  const page = profile.pages()[0] ?? (await profile.newPage());
  await page.goto(url);
  await page.waitForSelector('#message-box');
  return { profile, page };
}

test(`${kKills} kills while an answer streams: nothing is lost`, { timeout: 120_000 + kKills * 20_000 }, async () => {
  // What a browser keeps belongs to an address: the same one in every run.
  const known = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : { port: '0', sent: [] };
  const server = await startServer([], { port: known.port });
  known.port = new URL(server.url).port;
  const { sent } = known;
  let { profile, page } = await open(server.url);
  const counts = { browser: 0, tab: 0, reload: 0 };
  let answers = 0;
  try {
    for (let i = 0; i < kKills; i++) {
      await page.click('#new-chat');
      const text = `Message number ${sent.length}: tell me a long story about it.`;
      await send(page, text);
      // Sent means: it stands in the conversation.
      await page.waitForFunction((wanted) => [...document.querySelectorAll('.own')].at(-1)?.textContent === wanted, text);
      sent.push(text);
      const streaming = Math.random() < 0.8;
      if (streaming) await page.waitForFunction(() => (document.querySelector('.message.assistant:last-child .markdown')?.textContent.length ?? 0) > 20);
      const begin = performance.now();
      if (i % 5 === 4) {
        counts.reload++;
        await page.reload();
        await page.waitForSelector('.own');
        assert.equal((await page.locator('.own').allTextContents()).at(-1), text);
        await page.getByRole('button', { name: 'Answer again' }).first().click();
      }
      await page.waitForTimeout(Math.random() * 3000);
      const seen = i % 5 === 4 || !streaming ? '' : await page.locator('.message.assistant').last().locator('.markdown').innerText();
      const shownFor = performance.now() - begin;
      if (i % 2 === 0) {
        counts.browser++;
        const processes = browserProcesses(folder);
        assert.ok(processes.length > 1, 'no browser found');
        for (const id of processes) {
          try {
            process.kill(id, 'SIGKILL');
          } catch {
            // ended with the one before
          }
        }
        await profile.close().catch(() => undefined);
        for (const name of ['SingletonLock', 'SingletonSocket', 'SingletonCookie']) rmSync(join(folder, name), { force: true });
        ({ profile, page } = await open(server.url));
      } else {
        counts.tab++;
        const crashed = page.waitForEvent('crash');
        void page.goto('chrome://crash').catch(() => undefined);
        await crashed;
        page = await profile.newPage();
        await page.goto(server.url);
      }
      // Which conversation was open is known to the browser only some seconds later: then it is the first of the list.
      await page.waitForSelector('.conversation');
      if (i % 2 === 0) await page.locator('.conversation').first().click();
      // The browser may first open the one it still knew.
      await page.waitForFunction((wanted) => [...document.querySelectorAll('.own')].at(-1)?.textContent === wanted, text);
      const { messages, conversations } = await stored(page);
      const mine = messages.find((message) => message.text === text);
      const answer = messages.filter((message) => message.parent === mine.id).at(-1);
      const plain = (words) => words.replace(/[^a-z]+/gi, '');
      if (shownFor > kSavedEvery && seen) {
        answers++;
        assert.ok(answer && plain(answer.text).length > 20, `nothing of an answer that was shown for ${shownFor} ms`);
      }
      if (answer && seen) {
        const common = Math.min(40, plain(answer.text).length, plain(seen).length);
        assert.equal(plain(answer.text).slice(0, common), plain(seen).slice(0, common));
      }
      assert.deepEqual(messages.filter((message) => message.role === 'user').map((message) => message.text).sort(), [...sent].sort());
      assert.equal(conversations.length, sent.length);
    }
    writeFileSync(list, JSON.stringify(known));
    console.log(`${kKills} kills (${counts.browser} browsers, ${counts.tab} tabs), ${counts.reload} reloads: ${sent.length} of ${sent.length} conversations there; ${answers} answers older than ${kSavedEvery} ms, each kept`);
  } finally {
    await profile.close().catch(() => undefined);
    await server.stop();
  }
});
