// A real server with the small model, and Debian's Chromium. SERVAL_BIN and SERVAL_TEST_MODELS as in the other tests.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, afterEach, before, beforeEach } from 'node:test';
import { chromium } from 'playwright-core';

const root = resolve(import.meta.dirname, '../..');

export async function startServer(options = [], { model = 'smollm2-135m.gguf', env = {}, port = '0', context = 16384 } = {}) {
  const binary = process.env.SERVAL_BIN ?? join(root, 'build/release/serval');
  const models = process.env.SERVAL_TEST_MODELS;
  if (!models) throw new Error('SERVAL_TEST_MODELS must name the folder of test models');
  const child = spawn(binary, ['serve', join(models, model), '--port', port, '--no-access-log', '-c', String(context), ...options], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  const url = await new Promise((done, failed) => {
    child.stderr.setEncoding('utf8').on('data', (text) => {
      log += text;
      const found = /listening on (http:\/\/\S+)/.exec(log);
      if (found) done(found[1]);
    });
    child.once('exit', (code) => failed(new Error(`serval ended with ${code}: ${log}`)));
  });
  return {
    url,
    log: () => log,
    async stop(signal = 'SIGKILL') {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill(signal);
      await once(child, 'exit');
    },
  };
}

export const kBrowser = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
};

export const startBrowser = () => chromium.launch(kBrowser);

// A browser with a profile of its own, which can be killed and started again.
export const startProfile = (folder = mkdtempSync(join(tmpdir(), 'serval-web-'))) =>
  chromium.launchPersistentContext(folder, { ...kBrowser, viewport: { width: 1280, height: 800 } });

// The programs of the browser with that profile, its first one last.
export function browserProcesses(folder) {
  const parents = new Map();
  let root = 0;
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
      if (words.includes(`--user-data-dir=${folder}`) && !words.some((word) => word.startsWith('--type='))) root = Number(name);
    } catch {
      // ended meanwhile
    }
  }
  const below = (id) => [...parents].filter(([, parent]) => parent === id).flatMap(([child]) => [...below(child), child]);
  return root === 0 ? [] : [...below(root), root];
}

// Counts what a page must never do; `faults` is empty at the end of every test.
export async function watch(context) {
  const faults = [];
  await context.exposeBinding('reportFault', (_, text) => faults.push(text));
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) =>
      window.reportFault(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  context.on('page', (page) => {
    page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
    page.on('dialog', (dialog) => {
      faults.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
  });
  return faults;
}

// What the tests of a file share, there once they run: a browser, and a server if its options are given.
export function shared(options) {
  const here = {};
  before(async () => {
    here.browser = await startBrowser();
    if (options) here.server = await startServer(options);
  });
  after(async () => {
    await here.browser?.close();
    await here.server?.stop();
  });
  return here;
}

// Gives each test a context of its own, in which watch() must see no faults.
export function contextForEach(here, options = {}) {
  let faults;
  beforeEach(async () => {
    here.context = await here.browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-US', ...options });
    faults = await watch(here.context);
  });
  afterEach(async () => {
    await here.context.close();
    assert.deepEqual(faults, []);
  });
}

export async function openChat(context, url, path = '/') {
  const page = await context.newPage();
  await page.goto(url + path);
  await page.waitForSelector('#message-box');
  return page;
}

export async function send(page, text) {
  await page.fill('#message-box', text);
  await page.keyboard.press('Enter');
}

// The last answer, once it is complete.
export async function answered(page, timeout = 60_000) {
  await page.waitForSelector('#send:not(.busy)', { timeout });
  await page.waitForSelector('.message.assistant:last-child[aria-busy="false"]', { timeout });
  return page.locator('.message.assistant').last();
}
