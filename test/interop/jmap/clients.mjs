// Two JMAP clients that are not ours list, read, send, change and follow push. Arguments: the
// session's address, user, password, and the address to send to. Prints a line for each thing
// that worked; any other end is a failure.
import assert from 'node:assert/strict';
import { JamClient } from 'jmap-jam';
import ts from 'jmap-client-ts';
import transports from 'jmap-client-ts/lib/utils/fetch-transport.js';

const [sessionUrl, user, password, to] = process.argv.slice(2);
const basic = 'Basic ' + Buffer.from(`${user}:${password}`).toString('base64');

// Both clients only know bearer tokens: ours go in as Basic.
const plainFetch = globalThis.fetch;
globalThis.fetch = (url, init = {}) => {
  const headers = new Headers(init.headers);
  headers.set('Authorization', basic);
  return plainFetch(url, { ...init, headers });
};

// jmap-jam expects the EventSource of browsers, which Node.js has not.
globalThis.EventSource = class extends EventTarget {
  constructor(url) {
    super();
    this.controller = new AbortController();
    this.ready = fetch(url, { headers: { Accept: 'text/event-stream' }, signal: this.controller.signal }).then((r) => {
      assert.equal(r.status, 200);
      this.read(r.body.getReader()).catch(() => {});
    });
  }
  async read(reader) {
    let text = '';
    const decoder = new TextDecoder();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
        const fields = Object.fromEntries(text.slice(0, end).split('\n').map((l) => l.split(/: ?(.*)/s)));
        this.dispatchEvent(new MessageEvent(fields.event ?? 'message', { data: fields.data }));
      }
    }
  }
  close() { this.controller.abort(); }
};

const done = (what) => console.log('ok', what);

async function jam() {
  const client = new JamClient({ sessionUrl, bearerToken: 'unused' });
  const accountId = await client.getPrimaryAccount();
  const [mailboxes] = await client.api.Mailbox.get({ accountId });
  const inbox = mailboxes.list.find((m) => m.role === 'inbox');
  const drafts = mailboxes.list.find((m) => m.role === 'drafts');
  const sent = mailboxes.list.find((m) => m.role === 'sent');
  assert.ok(inbox && drafts && sent);
  done('jam lists mailboxes');

  const [{ ids, emails }] = await client.requestMany((r) => {
    const ids = r.Email.query({ accountId, filter: { inMailbox: inbox.id }, sort: [{ property: 'receivedAt', isAscending: false }] });
    const emails = r.Email.get({ accountId, ids: ids.$ref('/ids'), properties: ['subject', 'from', 'textBody', 'bodyValues'], fetchTextBodyValues: true });
    return { ids, emails };
  });
  assert.equal(ids.ids.length, 1);
  assert.equal(emails.list[0].subject, 'hello from SMTP');
  assert.match(emails.list[0].bodyValues[emails.list[0].textBody[0].partId].value, /Grüße/);
  done('jam reads a message that came by SMTP');

  const events = await client.connectEventSource({ types: '*', ping: 60 });
  await events.ready;
  const changed = new Promise((resolve) => events.addEventListener('state', (e) => {
    const states = JSON.parse(e.data).changed[accountId];
    if (states?.Email) resolve(performance.now());
  }));

  const blob = await client.uploadBlob(accountId, new Blob(['a,b\n1,2\n'], { type: 'text/csv' }));
  const [identities] = await client.api.Identity.get({ accountId });
  const identity = identities.list.find((i) => i.email === user);
  const start = performance.now();
  const [{ set, submission }] = await client.requestMany((r) => {
    const set = r.Email.set({ accountId, create: { draft: {
      mailboxIds: { [drafts.id]: true }, keywords: { $draft: true, $seen: true }, from: [{ name: 'Alice', email: user }], to: [{ email: to }],
      subject: 'sent by jmap-jam', bodyStructure: { type: 'multipart/mixed', subParts: [
        { type: 'text/plain', partId: 't' }, { blobId: blob.blobId, type: 'text/csv', name: 'Zahlen für dich.csv', disposition: 'attachment' }] },
      bodyValues: { t: { value: 'Bitte schön' } } } } });
    const submission = r.EmailSubmission.set({ accountId, create: { s: { emailId: '#draft', identityId: identity.id } },
      onSuccessUpdateEmail: { '#s': { [`mailboxIds/${drafts.id}`]: null, [`mailboxIds/${sent.id}`]: true, 'keywords/$draft': null } } });
    return { set, submission };
  });
  assert.ok(set.created.draft.id);
  console.log('info push after', Math.round((await changed) - start), 'ms of the request');
  events.close();
  const [moved] = await client.api.Email.get({ accountId, ids: [set.created.draft.id], properties: ['mailboxIds', 'keywords'] });
  assert.deepEqual(moved.list[0].mailboxIds, { [sent.id]: true });
  assert.deepEqual(moved.list[0].keywords, { $seen: true });
  done('jam sends with an attachment, moves the draft to Sent and is told by push');

  const [parts] = await client.api.Email.get({ accountId, ids: [set.created.draft.id], properties: ['attachments'] });
  const file = parts.list[0].attachments[0];
  const download = await client.downloadBlob({ accountId, blobId: file.blobId, mimeType: file.type, fileName: file.name });
  assert.equal(await download.text(), 'a,b\n1,2\n');
  assert.match(download.headers.get('Content-Disposition'), /attachment/);
  done('jam downloads the attachment');
}

async function clientTS() {
  // It does not say by itself that it sends JSON, as RFC 8620, 3.1, wants.
  const client = new ts.Client({ sessionUrl, accessToken: 'unused', transport: new transports.FetchTransport(fetch),
    httpHeaders: { 'Content-Type': 'application/json' } });
  await client.fetchSession();
  const accountId = client.getFirstAccountId();
  const boxes = await client.mailbox_get({ accountId, ids: null });
  const inbox = boxes.list.find((m) => m.role === 'inbox');
  done('client-ts lists mailboxes');
  const found = await client.email_query({ accountId, filter: { inMailbox: inbox.id }, sort: [{ property: 'receivedAt', isAscending: false }] });
  const got = await client.email_get({ accountId, ids: found.ids, properties: ['subject', 'keywords'] });
  assert.equal(got.list.length, found.ids.length);
  const id = got.list.find((e) => e.subject === 'hello from SMTP').id;
  const set = await client.email_set({ accountId, update: { [id]: { 'keywords/$flagged': true } } });
  assert.ok(id in set.updated);
  const changes = await client.email_changes({ accountId, sinceState: set.oldState });
  assert.deepEqual(changes.updated, [id]);
  done('client-ts flags a message and reads the change');
  const made = await client.mailbox_set({ accountId, create: { m: { name: 'From client-ts', parentId: null } } });
  const gone = await client.mailbox_set({ accountId, destroy: [made.created.m.id] });
  assert.deepEqual(gone.destroyed, [made.created.m.id]);
  done('client-ts makes a mailbox and destroys it');
}

await jam();
await clientTS();
process.exit(0);
