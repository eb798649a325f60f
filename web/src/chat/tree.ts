// A conversation is a tree: an edited question or another answer is a sibling. What is shown is the path from a root
// to the leaf that the conversation remembers.
import type { Message } from './store';

export class MessageTree {
  private readonly byId = new Map<string, Message>();
  private readonly children = new Map<string | null, Message[]>();

  constructor(messages: Message[]) {
    const known = new Set(messages.map((m) => m.id));
    for (const message of [...messages].sort((a, b) => a.created - b.created)) {
      // A parent that was never saved must not hide what follows it.
      this.add(message.parent !== null && !known.has(message.parent) ? { ...message, parent: null } : message);
    }
  }

  add(message: Message): void {
    this.byId.set(message.id, message);
    const siblings = this.children.get(message.parent);
    if (siblings) siblings.push(message);
    else this.children.set(message.parent, [message]);
  }

  get(id: string): Message | undefined {
    return this.byId.get(id);
  }

  all(): Message[] {
    return [...this.byId.values()];
  }

  siblings(message: Message): Message[] {
    return this.children.get(message.parent) ?? [message];
  }

  // From the root to `leaf`; the newest branch when there is no such message.
  path(leaf: string | null): Message[] {
    const path: Message[] = [];
    const seen = new Set<string>();
    let at = (leaf !== null ? this.byId.get(leaf) : undefined) ?? this.newestBelow(null);
    while (at && !seen.has(at.id)) {
      seen.add(at.id);
      path.unshift(at);
      at = at.parent === null ? undefined : this.byId.get(at.parent);
    }
    return path;
  }

  // The end of the newest branch below a message (or of all).
  newestBelow(id: string | null): Message | undefined {
    let at = id === null ? undefined : this.byId.get(id);
    const seen = new Set<string>();
    for (let below = this.children.get(id); below?.length; below = this.children.get(at.id)) {
      at = below[below.length - 1];
      if (seen.has(at.id)) break;
      seen.add(at.id);
    }
    return at;
  }
}
