/**
 * How do two parties make sure of each other and agree on keys? By the Noise Protocol Framework, revision 34:
 * `Noise_IKpsk1_25519_AESGCM_SHA256` to pair, `Noise_IK_25519_AESGCM_SHA256` afterwards. All cryptography is WebCrypto's, and this one
 * file runs in Node and in browsers.
 */

type Bytes = Uint8Array<ArrayBuffer>

/** A pair of X25519 keys (RFC 7748). The private key need not be extractable. */
export interface NoiseKeyPair {
  readonly privateKey: CryptoKey
  /** 32 bytes. */
  readonly publicKey: Bytes
}

/** The two handshakes of the relay. */
export type NoisePattern = 'IK' | 'IKpsk1'

/** What a party knows before the first message. */
export interface NoiseOptions {
  readonly pattern: NoisePattern
  /** What both must agree on, without sending it. */
  readonly prologue: Bytes
  /** The party's own static keys. */
  readonly own: NoiseKeyPair
  /** The static public key of the responder. The initiator knows it, and the responder leaves it out. */
  readonly responderKey?: Bytes | undefined
  /** 32 bytes that both know; for `IKpsk1` alone. */
  readonly psk?: Bytes | undefined
  /** The ephemeral keys, for test vectors alone. Default: new ones. */
  readonly ephemeral?: NoiseKeyPair | undefined
}

/** What a whole handshake leaves. */
export interface NoiseResult {
  /** Encrypts what the initiator sends. */
  readonly fromInitiator: CipherState
  /** Encrypts what the responder sends. */
  readonly fromResponder: CipherState
  /** The handshake hash: the same for both parties, and for nobody else (section 11.2, channel binding). */
  readonly handshakeHash: Bytes
  /** Another secret of both, 32 bytes, from which neither transport key can be found (section 10.3 of the framework's extensions). */
  readonly extraSecret: Bytes
}

/** The error of a message that breaks a rule, or that was not encrypted by the other party. The handshake or channel is over. */
export class NoiseError extends Error {
  override readonly name = 'NoiseError'
}

/** Bytes of a public key, of a hash and of a key. */
export const KEY_LENGTH = 32

/** Bytes by which a text grows when it is encrypted. */
export const TAG_LENGTH = 16

/** The longest message of Noise, in bytes (section 3). */
export const MAX_MESSAGE_LENGTH = 65_535

const NONE = new Uint8Array(0)
const { subtle } = crypto

/** Makes a pair of keys. @param extractable whether the private key may be written to a file */
export async function generateKeyPair(extractable = false): Promise<NoiseKeyPair> {
  const { privateKey, publicKey } = await subtle.generateKey({ name: 'X25519' }, extractable, [
    'deriveBits',
  ])
  return { privateKey, publicKey: new Uint8Array(await subtle.exportKey('raw', publicKey)) }
}

/**
 * The shared secret of two keys (RFC 7748 section 6.1).
 * @throws {NoiseError} for a public key that gives a secret of zeros, which anybody could know
 */
export async function sharedSecret(privateKey: CryptoKey, publicKey: Bytes): Promise<Bytes> {
  try {
    const theirs = await subtle.importKey('raw', publicKey, { name: 'X25519' }, true, [])
    const secret = await subtle.deriveBits({ name: 'X25519', public: theirs }, privateKey, 256)
    const bytes = new Uint8Array(secret)
    if (bytes.every((byte) => byte === 0)) throw new NoiseError('the shared secret is zero')
    return bytes
  } catch (cause) {
    throw cause instanceof NoiseError
      ? cause
      : new NoiseError('a public key is not one of X25519', { cause })
  }
}

async function hmac(key: Bytes, ...parts: readonly Uint8Array[]): Promise<Bytes> {
  const imported = await subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, [
    'sign',
  ])
  return new Uint8Array(await subtle.sign('HMAC', imported, join(...parts)))
}

/** HKDF of section 4.3, which is RFC 5869 without `info`: as many keys as are asked for. */
export async function hkdf(chainingKey: Bytes, material: Bytes, count: 2 | 3): Promise<Bytes[]> {
  const pseudorandomKey = await hmac(chainingKey, material)
  const keys: Bytes[] = []
  for (let i = 1; i <= count; i++)
    keys.push(await hmac(pseudorandomKey, keys.at(-1) ?? NONE, Uint8Array.of(i)))
  return keys
}

function join(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((size, { length }) => size + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

async function hash(...parts: readonly Uint8Array[]): Promise<Bytes> {
  return new Uint8Array(await subtle.digest('SHA-256', join(...parts)))
}

/** The nonce of AES-GCM: 4 bytes of zeros, then the counter, the most significant byte first (section 12.3). */
function nonceOf(counter: bigint): Bytes {
  const nonce = new Uint8Array(12)
  new DataView(nonce.buffer).setBigUint64(4, counter)
  return nonce
}

/** The counter that no message has: it makes the next key (section 4.2). */
const REKEY_COUNTER = 2n ** 64n - 1n

/** One direction's key, and the number of the next message (section 5.1). */
export class CipherState {
  #key: CryptoKey
  #counter = 0n

  private constructor(key: CryptoKey) {
    this.#key = key
  }

  /** @param key 32 bytes */
  static async of(key: Bytes): Promise<CipherState> {
    return new CipherState(await importCipherKey(key))
  }

  /** How many messages there were. */
  get counter(): bigint {
    return this.#counter
  }

  /** Encrypts the next message. Calls may overlap: each takes its number when it is made. */
  async encrypt(plain: Bytes, additionalData: Bytes = NONE): Promise<Bytes> {
    return this.#seal(this.#take(), plain, additionalData)
  }

  /**
   * Decrypts the next message. One after the other.
   * @throws {NoiseError} when it is not the next message of the other party: then nothing more of it may be read
   */
  async decrypt(sealed: Bytes, additionalData: Bytes = NONE): Promise<Bytes> {
    if (sealed.length < TAG_LENGTH) throw new NoiseError('a message is shorter than its tag')
    const iv = nonceOf(this.#take())
    try {
      return new Uint8Array(
        await subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, this.#key, sealed),
      )
    } catch (cause) {
      throw new NoiseError('a message is not the next one of the other party', { cause })
    }
  }

  /** Replaces the key by the next one, which nobody can turn back (section 4.2). The count of messages goes on. */
  async rekey(): Promise<void> {
    const sealed = await this.#seal(REKEY_COUNTER, new Uint8Array(KEY_LENGTH), NONE)
    this.#key = await importCipherKey(sealed.slice(0, KEY_LENGTH))
  }

  #take(): bigint {
    if (this.#counter >= REKEY_COUNTER) throw new NoiseError('the numbers of messages are used up')
    return this.#counter++
  }

  async #seal(counter: bigint, plain: Bytes, additionalData: Bytes): Promise<Bytes> {
    const iv = nonceOf(counter)
    return new Uint8Array(
      await subtle.encrypt({ name: 'AES-GCM', iv, additionalData }, this.#key, plain),
    )
  }
}

async function importCipherKey(key: Bytes): Promise<CryptoKey> {
  return subtle.importKey('raw', key, { name: 'AES-GCM' }, false, ['encrypt', 'decrypt'])
}

/** The tokens of the two messages (sections 7.5 and 9.4). */
const MESSAGES: Readonly<Record<NoisePattern, readonly (readonly Token[])[]>> = {
  IK: [
    ['e', 'es', 's', 'ss'],
    ['e', 'ee', 'se'],
  ],
  IKpsk1: [
    ['e', 'es', 's', 'ss', 'psk'],
    ['e', 'ee', 'se'],
  ],
}

type Token = 'e' | 's' | 'ee' | 'es' | 'se' | 'ss' | 'psk'

/** A handshake of one party: the initiator writes the first message and reads the second, the responder the other way round. */
export class NoiseHandshake {
  readonly #options: NoiseOptions
  readonly #isInitiator: boolean
  #hash: Bytes = NONE
  #chainingKey: Bytes = NONE
  #cipher: CipherState | undefined
  #ephemeral: NoiseKeyPair | undefined
  #theirEphemeral: Bytes | undefined
  #theirStatic: Bytes | undefined
  #messageNumber = 0

  private constructor(options: NoiseOptions) {
    this.#options = options
    this.#isInitiator = options.responderKey !== undefined
    this.#theirStatic = options.responderKey
  }

  /** Begins a handshake: as the initiator when the key of the responder is given, else as the responder. */
  static async begin(options: NoiseOptions): Promise<NoiseHandshake> {
    const { pattern, prologue, own, responderKey, psk } = options
    if ((pattern === 'IKpsk1') !== (psk !== undefined))
      throw new TypeError('a psk belongs to IKpsk1 alone')
    const handshake = new NoiseHandshake(options)
    const name = new TextEncoder().encode(`Noise_${pattern}_25519_AESGCM_SHA256`)
    handshake.#hash =
      name.length <= KEY_LENGTH
        ? join(name, new Uint8Array(KEY_LENGTH - name.length))
        : await hash(name)
    handshake.#chainingKey = handshake.#hash
    await handshake.#mixHash(prologue)
    await handshake.#mixHash(responderKey ?? own.publicKey)
    return handshake
  }

  /** The static key of the other party: the initiator's is known once its first message was read. */
  get theirStaticKey(): Bytes | undefined {
    return this.#theirStatic
  }

  /** Writes the next message. */
  async write(payload: Bytes): Promise<Bytes> {
    const parts: Bytes[] = []
    for (const token of this.#nextTokens(true)) {
      if (token === 'e') {
        this.#ephemeral = this.#options.ephemeral ?? (await generateKeyPair())
        parts.push(this.#ephemeral.publicKey)
        await this.#mixEphemeral(this.#ephemeral.publicKey)
      } else if (token === 's') parts.push(await this.#encrypt(this.#options.own.publicKey))
      else await this.#mixSecret(token)
    }
    parts.push(await this.#encrypt(payload))
    const message = join(...parts)
    if (message.length > MAX_MESSAGE_LENGTH) throw new NoiseError('a message is too long')
    return message
  }

  /**
   * Reads the next message.
   * @returns its payload
   * @throws {NoiseError} when it is not what the other party wrote for us: the handshake is over
   */
  async read(message: Bytes): Promise<Bytes> {
    if (message.length > MAX_MESSAGE_LENGTH) throw new NoiseError('a message is too long')
    let rest = message
    const take = (length: number): Bytes => {
      if (rest.length < length) throw new NoiseError('a message is too short')
      const taken = rest.slice(0, length)
      rest = rest.slice(length)
      return taken
    }
    for (const token of this.#nextTokens(false)) {
      if (token === 'e') {
        this.#theirEphemeral = take(KEY_LENGTH)
        await this.#mixEphemeral(this.#theirEphemeral)
      } else if (token === 's')
        this.#theirStatic = await this.#decrypt(take(KEY_LENGTH + TAG_LENGTH))
      else await this.#mixSecret(token)
    }
    return this.#decrypt(rest)
  }

  /** Ends the handshake, after its second message. */
  async split(): Promise<NoiseResult> {
    if (this.#messageNumber !== MESSAGES[this.#options.pattern].length)
      throw new TypeError('the handshake is not over')
    const [first = NONE, second = NONE] = await hkdf(this.#chainingKey, NONE, 2)
    const label = new TextEncoder().encode('workspace-gateway meeting places')
    return {
      fromInitiator: await CipherState.of(first),
      fromResponder: await CipherState.of(second),
      handshakeHash: this.#hash,
      extraSecret: await hmac(this.#chainingKey, label, this.#hash),
    }
  }

  #nextTokens(isWriting: boolean): readonly Token[] {
    const number = this.#messageNumber++
    const tokens = MESSAGES[this.#options.pattern][number]
    if (tokens === undefined || (number % 2 === 0) !== (isWriting === this.#isInitiator))
      throw new TypeError('it is not the turn of this message')
    return tokens
  }

  async #mixEphemeral(publicKey: Bytes): Promise<void> {
    await this.#mixHash(publicKey)
    if (this.#options.psk !== undefined) await this.#mixKey(publicKey) // section 9.2
  }

  async #mixSecret(token: Exclude<Token, 'e' | 's'>): Promise<void> {
    if (token === 'psk') {
      const [chainingKey = NONE, mixed = NONE, key = NONE] = await hkdf(
        this.#chainingKey,
        this.#options.psk ?? NONE,
        3,
      )
      this.#chainingKey = chainingKey
      await this.#mixHash(mixed)
      this.#cipher = await CipherState.of(key)
      return
    }
    // The first letter names the initiator's key, the second the responder's.
    const [own = 'e', theirs = 'e'] = this.#isInitiator
      ? token.split('')
      : token.split('').toReversed()
    const privateKey = own === 'e' ? this.#ephemeral?.privateKey : this.#options.own.privateKey
    const publicKey = theirs === 'e' ? this.#theirEphemeral : this.#theirStatic
    if (privateKey === undefined || publicKey === undefined)
      throw new TypeError('a key is not known yet')
    await this.#mixKey(await sharedSecret(privateKey, publicKey))
  }

  async #mixKey(material: Bytes): Promise<void> {
    const [chainingKey = NONE, key = NONE] = await hkdf(this.#chainingKey, material, 2)
    this.#chainingKey = chainingKey
    this.#cipher = await CipherState.of(key)
  }

  async #mixHash(data: Bytes): Promise<void> {
    this.#hash = await hash(this.#hash, data)
  }

  async #encrypt(plain: Bytes): Promise<Bytes> {
    const sealed = (await this.#cipher?.encrypt(plain, this.#hash)) ?? plain
    await this.#mixHash(sealed)
    return sealed
  }

  async #decrypt(sealed: Bytes): Promise<Bytes> {
    const plain = (await this.#cipher?.decrypt(sealed, this.#hash)) ?? sealed
    await this.#mixHash(sealed)
    return plain
  }
}
