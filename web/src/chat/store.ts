// Conversations in IndexedDB: one record per message, so that a damaged or refused write costs one message and never
// the others. What a person typed is on its way to disk before the request leaves; an answer is saved about once a
// second while it streams. Without storage (private windows of some browsers) everything stays in memory.

export interface Sampling {
  temperature?: number;
  top_k?: number;
  top_p?: number;
  min_p?: number;
  repeat_penalty?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  max_tokens?: number;
  seed?: number;
}

export interface Conversation {
  id: string;
  title: string;
  created: number;
  updated: number;
  leaf: string | null; // the message shown last
  system: string;
  sampling: Sampling;
}

export interface Attachment {
  name: string;
  text: string;
}

export interface Stats {
  tokens: number;
  perSecond: number;
  firstMs: number;
  promptTokens: number;
  cachedTokens: number;
}

// "writing" in the store means: the tab ended before the answer did.
export type MessageState = 'done' | 'writing' | 'stopped' | 'length' | 'failed';

export interface Message {
  id: string;
  conversation: string;
  parent: string | null;
  role: 'user' | 'assistant';
  text: string;
  created: number;
  state: MessageState;
  attachments?: Attachment[];
  stats?: Stats;
  error?: string;
}

// crypto.randomUUID exists only over https and on this machine itself.
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, '0')).join('');
}

function finished<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error('aborted'));
  });
}

function openDatabase(): Promise<IDBDatabase> {
  const request = indexedDB.open('serval', 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore('conversations', { keyPath: 'id' });
    request.result.createObjectStore('messages', { keyPath: 'id' }).createIndex('conversation', 'conversation');
  };
  return finished(request);
}

export class Store {
  private constructor(private readonly database: IDBDatabase | null) {}
  private readonly memory = { conversations: new Map<string, Conversation>(), messages: new Map<string, Message>() };
  // Other tabs of this page learn of changes.
  private readonly channel = 'BroadcastChannel' in window ? new BroadcastChannel('serval') : null;

  static async open(): Promise<Store> {
    try {
      return new Store(await openDatabase());
    } catch {
      return new Store(null);
    }
  }

  get persistent(): boolean {
    return this.database !== null;
  }

  onChangeElsewhere(action: (conversation: string) => void): void {
    if (this.channel) this.channel.onmessage = (event) => action(String(event.data));
  }

  async conversations(): Promise<Conversation[]> {
    const list = this.database
      ? await finished(this.database.transaction('conversations').objectStore('conversations').getAll() as IDBRequest<Conversation[]>)
      : [...this.memory.conversations.values()];
    return list.sort((a, b) => b.updated - a.updated);
  }

  async messages(conversation: string): Promise<Message[]> {
    if (!this.database) return [...this.memory.messages.values()].filter((m) => m.conversation === conversation);
    const index = this.database.transaction('messages').objectStore('messages').index('conversation');
    return finished(index.getAll(conversation) as IDBRequest<Message[]>);
  }

  // Resolves once the browser has it; rejects with QuotaExceededError when it has no room.
  async save(conversation: Conversation, ...messages: Message[]): Promise<void> {
    if (this.database) {
      const transaction = this.database.transaction(['conversations', 'messages'], 'readwrite');
      transaction.objectStore('conversations').put(conversation);
      for (const message of messages) transaction.objectStore('messages').put(message);
      await committed(transaction);
    } else {
      this.memory.conversations.set(conversation.id, conversation);
      for (const message of messages) this.memory.messages.set(message.id, message);
    }
    this.channel?.postMessage(conversation.id);
  }

  // Without waiting: also for pages about to disappear.
  saveMessage(message: Message): Promise<void> {
    if (!this.database) return Promise.resolve();
    const transaction = this.database.transaction('messages', 'readwrite');
    transaction.objectStore('messages').put(message);
    const done = committed(transaction);
    transaction.commit();
    return done;
  }

  async remove(conversation: string): Promise<void> {
    const messages = await this.messages(conversation);
    if (this.database) {
      const transaction = this.database.transaction(['conversations', 'messages'], 'readwrite');
      transaction.objectStore('conversations').delete(conversation);
      for (const message of messages) transaction.objectStore('messages').delete(message.id);
      await committed(transaction);
    } else {
      this.memory.conversations.delete(conversation);
      for (const message of messages) this.memory.messages.delete(message.id);
    }
    this.channel?.postMessage(conversation);
  }

  // The ids of conversations with a message that contains the words; one message in memory at a time.
  async search(words: string): Promise<Set<string>> {
    const wanted = words.toLowerCase();
    const found = new Set<string>();
    const visit = (message: Message) => {
      if (message.text.toLowerCase().includes(wanted)) found.add(message.conversation);
    };
    if (!this.database) {
      this.memory.messages.forEach(visit);
      return found;
    }
    const request = this.database.transaction('messages').objectStore('messages').openCursor();
    return new Promise((resolve, reject) => {
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) return resolve(found);
        visit(cursor.value as Message);
        cursor.continue();
      };
    });
  }
}

// How much of what the browser grants is used; null where it does not say (plain http to another machine).
export async function storageUse(): Promise<{ used: number; share: number } | null> {
  const estimate = await navigator.storage?.estimate?.().catch(() => undefined);
  if (!estimate?.quota) return null;
  return { used: estimate.usage ?? 0, share: (estimate.usage ?? 0) / estimate.quota };
}
