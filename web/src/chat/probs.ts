// The probabilities of an answer's tokens. The model scores the finished text once more (its prompt is mostly cached),
// so that ordinary answers cost nothing for it. Hover, focus or arrow keys show what else it could have said.
import { callJson, plainWords } from '../api';
import { announce, el, icon } from '../dom';
import { formatNumber, t } from '../i18n';
import { promptTokens } from './generation';
import type { Conversation, Message } from './store';

interface Scored {
  token: string;
  logprob: number;
  top: [string, number][];
}

const kAlternatives = 5;

async function score(conversation: Conversation, path: Message[], text: string): Promise<Scored[]> {
  const { prompt, begun } = await promptTokens(conversation, path, text);
  const reply = await callJson<{
    choices: { logprobs: { tokens: string[]; token_logprobs: (number | null)[]; top_logprobs: (Record<string, number> | null)[] } }[];
  }>('/v1/completions', { body: { prompt: [...prompt, ...begun], echo: true, max_tokens: 0, logprobs: kAlternatives } });
  const { tokens, token_logprobs, top_logprobs } = reply.choices[0].logprobs;
  return tokens.slice(prompt.length).map((token, i) => ({
    token,
    logprob: token_logprobs[prompt.length + i] ?? 0,
    top: Object.entries(top_logprobs[prompt.length + i] ?? {}).sort((a, b) => b[1] - a[1]),
  }));
}

function percent(logprob: number): string {
  const value = 100 * Math.exp(logprob);
  return `${formatNumber(value, value < 10 ? 1 : 0)} %`;
}

// White space that would otherwise be invisible.
function visible(token: string): string {
  return token.replace(/\n/g, '↵').replace(/\t/g, '⇥').replace(/^ | $/g, '·') || '∅';
}

// Five steps of surprise, from certain to unlikely; the step is also a class that forced colours show as underline.
function surprise(logprob: number): number {
  const limits = [-0.1, -0.5, -1.2, -2.5];
  const at = limits.findIndex((limit) => logprob >= limit);
  return at < 0 ? limits.length : at;
}

// A view of the answer by tokens. `branch` is called with the text to go on from.
export function probabilityView(
  conversation: Conversation, path: Message[], message: Message, branch: (prefix: string) => void,
): HTMLElement {
  const root = el('div', { class: 'probs' }, el('p', { class: 'dim', role: 'status' }, t.probs.loading));
  score(conversation, path, message.text).then(
    (scored) => fill(root, scored, branch),
    (error) => root.replaceChildren(el('p', { class: 'fault' }, plainWords(error))),
  );
  return root;
}

function fill(root: HTMLElement, scored: Scored[], branch: (prefix: string) => void): void {
  if (scored.length === 0) {
    root.replaceChildren(el('p', { class: 'dim' }, t.probs.none));
    return;
  }
  const card = el('div', { class: 'probs-card' });
  const line = el('div', { class: 'probs-text', role: 'group', 'aria-label': t.probabilities });
  const nodes = scored.map((entry, i) =>
    el('span', {
      role: 'button', class: `token surprise${surprise(entry.logprob)}`, tabindex: i === 0 ? '0' : '-1',
      'aria-label': `${visible(entry.token)} ${percent(entry.logprob)}`,
      onmouseenter: () => show(i), onfocus: () => show(i),
    }, entry.token.replace(/\n/g, '↵\n')));
  line.append(...nodes);

  const show = (i: number) => {
    nodes.forEach((node, at) => {
      node.tabIndex = at === i ? 0 : -1;
      node.classList.toggle('current', at === i);
    });
    const before = scored.slice(0, i).map((entry) => entry.token).join('');
    card.replaceChildren(el('h2', {}, t.probs.here), alternatives(scored[i], (token) => branch(before + token)));
  };
  line.addEventListener('keydown', (event) => {
    const at = nodes.indexOf(document.activeElement as HTMLSpanElement);
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (step === 0 || !nodes[at + step]) return;
    event.preventDefault();
    nodes[at + step].focus();
    announce(`${visible(scored[at + step].token)} ${percent(scored[at + step].logprob)}`);
  });
  root.replaceChildren(el('p', { class: 'dim' }, t.probs.intro), line, card);
  show(0);
}

function alternatives(entry: Scored, branch: (token: string) => void): HTMLElement {
  const rows = [...entry.top];
  if (!rows.some(([token]) => token === entry.token)) rows.push([entry.token, entry.logprob]);
  const list = el('ul', { class: 'alternatives' });
  for (const [token, logprob] of rows) {
    const meter = el('meter', { min: '0', max: '1', value: String(Math.exp(logprob)), 'aria-label': percent(logprob) });
    const said = token === entry.token;
    list.append(el('li', {},
      el('code', {}, visible(token)), meter, el('span', { class: 'number' }, percent(logprob)),
      said ? el('span', { class: 'said' }, t.probs.chosen)
        : el('button', {
          type: 'button', class: 'quiet', 'aria-label': t.probs.branchHere(visible(token)), title: t.probs.branchHere(visible(token)),
          onclick: () => branch(token),
        }, icon('go'))));
  }
  return list;
}
