/**
 * Which attacks are tried, and which of them succeed today? Every attack of the gallery by its file and name. One that is expected to be
 * held and is not fails the run, and so does a known hole that has closed: then its sentence has to leave docs/vault.md.
 */

/** What is expected of an attack: that it is held, or the sentence of docs/vault.md that admits that it is not. */
export type Expected = 'held' | { readonly admittedBy: string }

/** Where a file of attacks runs: against a vault process of its own, or in the process of the test, and why. */
type Place = 'vault process' | { readonly inTest: string }

interface FileOfAttacks {
  readonly place: Place
  readonly attacks: Readonly<Record<string, Expected>>
}

/** Attacks that are held. */
const held = (...names: readonly string[]): Record<string, Expected> =>
  Object.fromEntries(names.map((name) => [name, 'held'] as const))

/** Attacks that succeed, under the sentence that admits them. */
const admitted = (admittedBy: string, ...names: readonly string[]): Record<string, Expected> =>
  Object.fromEntries(names.map((name) => [name, { admittedBy }] as const))

/** The files of this folder. */
export const LEDGER: Readonly<Record<string, FileOfAttacks>> = {
  'certificate.test.ts': {
    place: 'vault process',
    attacks: held(
      ...['an expired certificate', 'a certificate for another name'],
      ...['a certificate that signed itself', 'a certificate of a CA that nobody has added'],
      ...[
        'an old version of TLS',
        'a valid certificate, which is refused',
        'http instead of https',
      ],
    ),
  },
  'clock-set-back.test.ts': {
    place: { inTest: 'the clock of the system must not be set' },
    attacks: held(
      'a lease, when the clock was set back by more than its time',
      'refusals without rows, when the clock was set back',
    ),
  },
  'cut-upload.test.ts': {
    place: 'vault process',
    attacks: held(
      'Content-Length: 100: the agent goes away',
      'Content-Length: 100: the grant is revoked',
      'Transfer-Encoding: chunked: the agent goes away',
      'Transfer-Encoding: chunked: the grant is revoked',
    ),
  },
  'echoed.test.ts': {
    place: 'vault process',
    attacks: {
      ...held(
        ...['in a header', "in a header's name", 'in the body', 'in an error page'],
        ...['in the status line', 'in a redirect', 'in base64, first alignment'],
        ...['in base64, second alignment', 'in base64, third alignment', 'in the base64 of Basic'],
        ...['in hex', 'in UTF-16', 'in chunks', 'in an error page, escaped for HTML'],
        ...['in a version that is kept for a while', 'in an answer whose length would tell'],
        ...[
          'through another entry of the same service',
          'in an answer that comes after its rotation',
        ],
      ),
      ...admitted(
        'A credential that was replaced without an overlap, or whose entry was removed, is not looked for any more.',
        'in an answer to a request after its rotation',
      ),
    },
  },
  'encoded-answer.test.ts': {
    place: 'vault process',
    attacks: held(
      ...['gzip', 'deflate', 'br', 'zstd', 'gzip behind identity'],
      ...['a bomb of gzip', 'a bomb of deflate', 'a bomb of br', 'a bomb of zstd'],
      ...['codings that cannot be decoded', 'an encoded answer that ends early'],
      'a coding behind thousands of other fields',
    ),
  },
  'odd-answers.test.ts': {
    place: 'vault process',
    attacks: held(
      ...['in a trailer', 'in a chunk extension', 'in 103 Early Hints'],
      ...['in 100 Continue that nobody waits for', 'in the body of an answer to HEAD'],
      ...['behind the end of an answer', 'in a session cookie'],
      ...['in a header that Connection names', 'in the body of 204', 'in a folded line'],
      ...['an answer with two lengths', 'bare CR and LF, NUL, and no proper head'],
      ...['a second answer for the next request', 'an answer that is said to be the vault’s own'],
    ),
  },
  'old-client.test.ts': {
    place: 'vault process',
    attacks: {
      ...held(
        'an answer to HTTP/1.0',
        'a broken answer to HTTP/1.0, which looks whole when it just ends',
      ),
      ...admitted(
        "An answer to HTTP/1.0 that breaks off looks whole at an agent's socket, because a Unix socket knows no reset.",
        'a broken answer to HTTP/1.0, at a socket',
      ),
    },
  },
  'older-file.test.ts': {
    place: 'vault process',
    attacks: {
      ...held('the older file alone', 'the file of another vault'),
      ...admitted(
        'An older file together with an older audit log opens',
        'the older file with its older log',
      ),
    },
  },
  'others-lease.test.ts': {
    place: 'vault process',
    attacks: {
      ...held(
        ...['the lease of coder at the door of ops', 'another agent, as the request says'],
        ...['the lease of one entry for another', 'two leases in one request'],
        ...['a lease in a cookie, in the query, in the path or in another header'],
        ...['an expired lease', 'a revoked lease, and a lease of an entry that was replaced'],
        ...['a lease that was given back is renewed'],
        ...['a wider lease than the entry, and a use beyond the lease'],
        ...['entries and grants, changed at the door of an agent', 'which entries there are'],
      ),
      ...admitted(
        "They can open each other's sockets, read each other's memory and use each other's leases.",
        'the socket of another agent with the same uid',
      ),
      ...held('very many leases'), // the last one: ops gets no more
    },
  },
  'path-prefix.test.ts': {
    place: 'vault process',
    attacks: held(
      ...['//evil', 'dot segments', '/..;/', 'an encoded slash'],
      ...['an encoded slash that leaves no segment', 'dots before an escaped delimiter'],
      ...['backslashes, controls and broken escapes', 'a path that only begins as the prefix'],
      'paths that only look so',
    ),
  },
  'private-address.test.ts': {
    place: 'vault process',
    attacks: held(
      ...['addresses of metadata, also for an entry that allows private ones'],
      ...['mapped, translated and compatible addresses'],
      ...['private addresses that the owner has not allowed'],
      ...['addresses that are written in another way', 'a name that resolves to an address inside'],
    ),
  },
  'rebinding.test.ts': {
    place: { inTest: 'the names need a resolver that changes its mind' },
    attacks: held(
      ...['a name that resolves to an address inside, alone or beside a public one'],
      ...['a name that resolves to another address a moment later'],
      ...['a name without an address, and one that cannot be resolved'],
    ),
  },
  'redirect.test.ts': {
    place: 'vault process',
    attacks: {
      ...held(
        ...['a redirect to another host', 'a redirect to another path of the service'],
        ...['a redirect with the credential, escaped byte by byte'],
        ...['a session cookie, and other addresses of the service'],
      ),
      ...admitted(
        'Absolute addresses in answers lead past the vault',
        'an address of its own in the body',
      ),
      ...admitted(
        'If the service makes a new token when asked, the agent gets it.',
        'a new secret, made when asked',
      ),
    },
  },
  'request-headers.test.ts': {
    place: 'vault process',
    attacks: {
      ...held(
        ...['Connection names the slot', 'Connection hides a header that it names'],
        ...['several Authorization headers', 'the lease twice, and in two places'],
        ...['another header of the name of the slot, and Authorization besides'],
        ...['a scheme that is not Basic, in an entry of Basic'],
        ...['a scheme that is not Bearer, in an entry of a workspace'],
        ...['headers of another hop, of sessions and of other addresses'],
        ...['method override headers', 'headers that nobody has named'],
        ...['Host of another service', 'what the tools of services send, and what the entry names'],
        ...['a path and a query that mean something else when they are written anew'],
        ...['an encoded body of a request'],
      ),
      ...admitted(
        'Queries and bodies are not checked: a service that takes another method from there (`?_method=DELETE`) does what that says.',
        'a method override in the query',
      ),
    },
  },
  'slow-reader.test.ts': {
    place: 'vault process',
    attacks: held(
      'an answer that the agent does not take',
      'a body that the service does not take',
    ),
  },
  'smuggled.test.ts': {
    place: 'vault process',
    attacks: held(
      ...['Transfer-Encoding with Content-Length', 'two Content-Length'],
      ...['another Transfer-Encoding', 'an absolute target', 'a target with an authority'],
      ...['TRACE and CONNECT', 'folded lines, bare CR and LF, and NUL'],
      ...['a very long path, and very many headers', 'trailers of a request'],
      ...['a second request in the body of the first'],
      ...['a second request behind the first, without a lease', 'Upgrade: h2c'],
      ...['Expect: 100-continue for a request that is refused'],
      ...['a credential of the agent’s own in the body'],
    ),
  },
  'split.test.ts': {
    place: 'vault process',
    attacks: {
      ...held(
        ...['chunks at every offset', 'packets of one byte', 'a lone part of multipart/byteranges'],
        ...['an event is held back until the next'],
        ...['what is held back of a stream tells the next character'],
      ),
      ...admitted(
        'Split over several answers, headers, events, parts, or frames of a WebSocket it is not found.',
        ...['two answers with a half each', 'two headers with a half each'],
        ...["a header's name with a half, and its value"],
        ...['the events of a stream with a piece each'],
        ...['two parts of multipart/byteranges that nobody asked for'],
      ),
    },
  },
  'suspended.test.ts': {
    place: 'vault process',
    attacks: held(
      'a fourth repetition in ten minutes',
      'an answer that repeats it often, to suspend the entry at once',
    ),
  },
  'transformed.test.ts': {
    place: 'vault process',
    attacks: {
      ...admitted(
        'Reversed, encrypted or hashed it is not found.',
        'reversed',
        'encrypted',
        'hashed',
      ),
      ...admitted(
        'In base64 with line breaks, or with other text between its characters, it is not found.',
        ...['in base64 with line breaks', 'with a space between its characters'],
      ),
      ...admitted('In capitals it is not found.', 'in capitals'),
      ...admitted(
        'In two encodings, one around the other, it is not found.',
        ...['percent-encoded twice', 'in base64 of base64'],
      ),
      ...admitted(
        'Where only some of its plain letters are escaped, it is not found.',
        ...['in JSON that escapes some letters', 'percent-encoded here and there'],
      ),
      ...admitted(
        'In numeric character references of HTML, quoted-printable, base32 or UTF-32 it is not found.',
        ...[
          'in numeric character references of HTML',
          'in quoted-printable',
          'in base32',
          'in UTF-32',
        ],
      ),
      ...admitted(
        'In an archive or a picture it is not found.',
        ...['in an archive', 'in an archive in a part of multipart'],
      ),
      ...admitted('Of base64, one character at each end may stay.', 'the ends of its base64'),
      ...admitted('A part of it is not found.', 'its first characters'),
    },
  },
  'upgrade.test.ts': {
    place: 'vault process',
    attacks: {
      ...held(
        ...['a WebSocket that the entry does not allow', 'another protocol than WebSocket'],
        ...['101 without being asked', '101 without a protocol'],
        ...['a message with the credential, and extensions that are asked for'],
        ...['a message that ends as the credential begins waits for the next'],
        ...['bytes that are no frames of a server', 'frames that say that they are compressed'],
        ...['an extension that the service chooses all the same', 'in the head of 101'],
        ...['the refusal of a service', 'a WebSocket that goes on when its grant is revoked'],
      ),
      ...admitted(
        'Split over several answers, headers, events, parts, or frames of a WebSocket it is not found.',
        'two frames of a message with a half each',
      ),
    },
  },
}

/** The attacks that the vault was promised to hold before it was built, and where each is tried. */
export const PROMISED: Readonly<Record<string, readonly [file: string, ...names: string[]]>> = {
  'echo in a header': ['echoed.test.ts', 'in a header', "in a header's name"],
  'echo in the body': ['echoed.test.ts', 'in the body'],
  'echo in an error page': ['echoed.test.ts', 'in an error page', 'in the status line'],
  redirect: ['redirect.test.ts', 'a redirect to another host'],
  gzip: ['encoded-answer.test.ts', 'gzip'],
  br: ['encoded-answer.test.ts', 'br'],
  Range: ['request-headers.test.ts', 'headers of another hop, of sessions and of other addresses'],
  'chunk splits at every offset': ['split.test.ts', 'chunks at every offset'],
  'base64 alignments': [
    'echoed.test.ts',
    ...['in base64, first alignment', 'in base64, second alignment', 'in base64, third alignment'],
  ],
  '`Connection:` naming the slot': ['request-headers.test.ts', 'Connection names the slot'],
  'duplicate `Authorization`': ['request-headers.test.ts', 'several Authorization headers'],
  'TE+CL': ['smuggled.test.ts', 'Transfer-Encoding with Content-Length'],
  'absolute form': ['smuggled.test.ts', 'an absolute target'],
  '`//evil` against the path prefix': ['path-prefix.test.ts', '//evil'],
  '`/..;/` against the path prefix': ['path-prefix.test.ts', '/..;/'],
  'encoded slash against the path prefix': ['path-prefix.test.ts', 'an encoded slash'],
  upgrade: ['upgrade.test.ts', 'a WebSocket that the entry does not allow'],
  'invalid certificate': [
    'certificate.test.ts',
    ...['an expired certificate', 'a certificate for another name'],
    'a certificate that signed itself',
  ],
  'rebinding resolver': [
    'rebinding.test.ts',
    'a name that resolves to another address a moment later',
  ],
  'mapped addresses': ['private-address.test.ts', 'mapped, translated and compatible addresses'],
  'metadata addresses': [
    'private-address.test.ts',
    'addresses of metadata, also for an entry that allows private ones',
  ],
  "A's lease on B's door": ['others-lease.test.ts', 'the lease of coder at the door of ops'],
  'expired lease': ['others-lease.test.ts', 'an expired lease'],
  'revoked lease': [
    'others-lease.test.ts',
    'a revoked lease, and a lease of an entry that was replaced',
  ],
  'widened lease': [
    'others-lease.test.ts',
    'a wider lease than the entry, and a use beyond the lease',
  ],
  'method override headers': ['request-headers.test.ts', 'method override headers'],
}

/** The attacks of a file. @throws when the ledger does not know the file */
export function attacksOf(file: string): FileOfAttacks['attacks'] {
  const found = LEDGER[file]
  if (found === undefined) throw new Error(`${file} is not in test/vault/gallery/ledger.ts`)
  return found.attacks
}

/** What is wrong about the outcome of an attack; undefined when it is as expected. */
export function verdict(expected: Expected, hasSucceeded: boolean): string | undefined {
  if (expected === 'held') return hasSucceeded ? 'the attack has succeeded' : undefined
  if (hasSucceeded) return undefined
  return `this hole is closed: move it to held, and take the sentence out of the docs: ${expected.admittedBy}`
}
