// Somebody who has read nothing: sends a message, stops it, branches it, finds the slowest request of the last minute and why it
// was slow. Only by words that can be seen in the window as it opens (accessible names are for those who cannot see), no keys but letters.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answered, shared, watch } from './harness.mjs';

const here = shared(['-np', '4']);

// A thing to press with this word on it, inside the window without scrolling.
async function press(page, word) {
  const found = page.locator('button:visible, a:visible').filter({ has: page.locator(`xpath=self::*[normalize-space(.)="${word}"]`) }).last();
  await found.waitFor({ timeout: 20_000 });
  const box = await found.boundingBox();
  const { width, height } = page.viewportSize();
  assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height, `${word} is not in sight`);
  await found.click();
}

for (const viewport of [{ width: 1280, height: 800 }, { width: 1024, height: 700 }]) {
  test(`a newcomer, ${viewport.width} wide`, async () => {
    const context = await here.browser.newContext({ viewport, locale: 'en-US' });
    const faults = await watch(context);
    const page = await context.newPage();
    // A story that the model cannot end before it is stopped.
    await page.route('**/v1/chat/completions', (route) => {
      const body = route.request().postDataJSON();
      return route.continue({ postData: JSON.stringify({ ...body, ignore_eos: /very long/.test(body.messages.at(-1).content) }) });
    });
    await page.goto(here.server.url);

    // Send: the box is ready to be typed into, and the one filled button sends.
    await page.waitForFunction(() => document.activeElement?.id === 'message-box');
    await page.keyboard.type('Tell me a very long story about a river.');
    await page.click('#send');
    await page.waitForFunction(() => (document.querySelector('.message.assistant .markdown')?.textContent.length ?? 0) > 30);
    // Stop: the same button, now a filled square that says so.
    assert.equal(await page.getAttribute('#send', 'title'), 'Stop');
    await page.click('#send');
    await answered(page, 5000);
    assert.match(await page.locator('.message.assistant').last().innerText(), /Stopped\./);

    // Branch: another answer, and another question; both versions stay, and are counted where they differ.
    await press(page, 'Answer again');
    await page.waitForFunction(() => (document.querySelector('.message.assistant .markdown')?.textContent.length ?? 0) > 30);
    await page.click('#send');
    await answered(page, 5000);
    assert.match(await page.locator('.message.assistant .branches').innerText(), /2\/2/);
    await press(page, 'Edit');
    await page.keyboard.press('Control+a');
    await page.keyboard.type('Say yes.');
    await press(page, 'Send as a new branch');
    await page.waitForFunction(() => document.querySelector('.own')?.textContent === 'Say yes.');
    await page.click('#send.busy').catch(() => undefined); // it may have ended by itself
    await answered(page, 10_000);
    assert.match(await page.locator('.message.user .branches').innerText(), /2\/2/);

    // A slow request beside others, then: which was it, and why?
    const ask = (prompt, max_tokens) => fetch(`${here.server.url}/v1/completions`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ prompt, max_tokens, ignore_eos: true }),
    }).then((response) => response.json());
    const slow = await ask(`${viewport.width} ${'word '.repeat(1200)}`, 4);
    await press(page, 'Monitor');
    await page.waitForSelector('.status.live');
    const line = page.getByText(/^Slowest of the last minute: request \d+, [\d.]+ m?s\.$/);
    await line.waitFor();
    const shown = /request (\d+), ([\d.]+) (m?s)/.exec(await line.innerText());
    const snapshot = await (await fetch(`${here.server.url}/admin/monitor`)).json();
    const now = snapshot.frame.t_ms;
    const total = ({ 11: [queued, , , , ended] }) => (ended ?? now) - queued;
    const recent = snapshot.reqs.rows.filter(({ 11: times }) => (times[4] ?? now) >= now - 60_000);
    const worst = recent.reduce((most, row) => (total(row) > total(most) ? row : most));
    assert.equal(Number(shown[1]), worst[0], 'the slowest of the server’s own rows');
    const milliseconds = Number(shown[2]) * (shown[3] === 's' ? 1000 : 1);
    assert.ok(Math.abs(milliseconds - total(worst)) <= 0.05 * total(worst) + 1, `${milliseconds} against ${total(worst)}`);
    await press(page, 'Why?');
    const dialog = page.locator('dialog.request');
    const verdict = await dialog.locator('.verdict').innerText();
    if (worst[3] === slow.usage.prompt_tokens) {
      assert.match(verdict, /^It took [\d.]+ m?s, most of it \([\d.]+ m?s\) reading its prompt\.$/);
      assert.match(await dialog.locator('.story').innerText(), /The prompt took .*: 1,\d{3} tokens computed, \d+ found in the cache\./);
    } else {
      assert.match(verdict, /^It took [\d.]+ m?s, most of it \([\d.]+ m?s\) writing its answer\.$/);
    }
    await press(page, 'Close');
    await press(page, 'Chat');
    assert.deepEqual(faults, []);
    await context.close();
  });
}
