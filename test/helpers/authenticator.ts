/** What does a passkey do? A software authenticator with an ES256 key, which can also misbehave (WebAuthn Level 3). */
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'

/** How a response differs from the right one. */
export interface Misbehaviour {
  readonly origin?: string
  readonly rpId?: string
  /** Whether the person was verified. */
  readonly isVerified?: boolean
  readonly challenge?: string
  readonly type?: string
  readonly crossOrigin?: boolean
  readonly counter?: number
  readonly isSynced?: boolean
  /** How it attests the new passkey: not at all, with a certificate, or with a signature by the passkey itself. */
  readonly format?: 'none' | 'packed' | 'self'
}

const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest()
const text64 = (data: string | Uint8Array) => Buffer.from(data).toString('base64url')

/** Flags of the authenticator data: user present, user verified, backup eligible, backed up, attested credential data. */
const FLAGS = { present: 0x01, verified: 0x04, eligible: 0x08, backedUp: 0x10, attested: 0x40 }

/** A head of CBOR (RFC 8949): a major type and an argument below 65,536. */
function head(major: number, value: number): Buffer {
  if (value < 24) return Buffer.from([(major << 5) | value])
  if (value < 256) return Buffer.from([(major << 5) | 24, value])
  return Buffer.from([(major << 5) | 25, value >> 8, value & 255])
}
const bytes = (value: Uint8Array) => Buffer.concat([head(2, value.length), value])
const text = (value: string) => Buffer.concat([head(3, value.length), Buffer.from(value)])

/** A passkey. */
export class Authenticator {
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  readonly #isSynced: boolean
  readonly id = randomBytes(32)
  counter: number

  constructor({ isSynced = false, counter = 0 }: { isSynced?: boolean; counter?: number } = {}) {
    this.#isSynced = isSynced
    this.counter = counter
  }

  /** What `navigator.credentials.create()` returns, as JSON. */
  create(options: object, origin: string, wrong: Misbehaviour = {}): object {
    const { challenge, rp } = options as { challenge: string; rp: { id: string } }
    const { x = '', y = '' } = this.#keys.publicKey.export({ format: 'jwk' })
    const cose = Buffer.concat([
      ...[head(5, 5), head(0, 1), head(0, 2), head(0, 3), head(1, 6)],
      ...[head(1, 0), head(0, 1), head(1, 1), bytes(Buffer.from(x, 'base64url'))],
      ...[head(1, 2), bytes(Buffer.from(y, 'base64url'))],
    ])
    const attested = Buffer.concat([
      ...[Buffer.alloc(16), Buffer.from([0, this.id.length]), this.id, cose],
    ])
    const data = this.#data(rp.id, wrong, attested)
    const clientDataJSON = this.#client('webauthn.create', challenge, origin, wrong)
    const format = wrong.format === undefined || wrong.format === 'none' ? 'none' : 'packed'
    const attestation = Buffer.concat([
      ...[head(5, 3), text('fmt'), text(format), text('attStmt')],
      ...this.#statement(wrong.format, data, clientDataJSON),
      ...[text('authData'), bytes(data)],
    ])
    return this.#answer({
      clientDataJSON,
      attestationObject: text64(attestation),
      transports: ['internal', 'nonsense'],
    })
  }

  /** What `navigator.credentials.get()` returns, as JSON. */
  get(options: object, origin: string, wrong: Misbehaviour = {}): object {
    const { challenge, rpId } = options as { challenge: string; rpId: string }
    const clientDataJSON = this.#client('webauthn.get', challenge, origin, wrong)
    const data = this.#data(rpId, wrong)
    return this.#answer({
      clientDataJSON,
      authenticatorData: text64(data),
      signature: text64(this.#sign(data, clientDataJSON)),
    })
  }

  #statement(format: Misbehaviour['format'], data: Buffer, clientDataJSON: string): Buffer[] {
    if (format === 'packed')
      return [head(5, 1), text('x5c'), head(4, 1), bytes(Buffer.from('certificate'))]
    if (format !== 'self') return [head(5, 0)]
    const es256 = head(1, 6)
    const signature = this.#sign(data, clientDataJSON)
    return [head(5, 2), text('alg'), es256, text('sig'), bytes(signature)]
  }

  #sign(data: Buffer, clientDataJSON: string): Buffer {
    const signed = Buffer.concat([data, sha256(Buffer.from(clientDataJSON, 'base64url'))])
    return sign('sha256', signed, this.#keys.privateKey)
  }

  #answer(response: object): object {
    const id = text64(this.id)
    return { id, rawId: id, type: 'public-key', clientExtensionResults: {}, response }
  }

  #client(type: string, challenge: string, origin: string, wrong: Misbehaviour): string {
    const { crossOrigin = false } = wrong
    const said = { type: wrong.type ?? type, challenge: wrong.challenge ?? challenge }
    return text64(JSON.stringify({ ...said, origin: wrong.origin ?? origin, crossOrigin }))
  }

  #data(rpId: string, wrong: Misbehaviour, attested?: Buffer): Buffer {
    const isSynced = wrong.isSynced ?? this.#isSynced
    const flags =
      FLAGS.present |
      (wrong.isVerified === false ? 0 : FLAGS.verified) |
      (isSynced ? FLAGS.eligible | FLAGS.backedUp : 0) |
      (attested === undefined ? 0 : FLAGS.attested)
    const counter = Buffer.alloc(4)
    counter.writeUInt32BE(wrong.counter ?? this.counter)
    const rest = attested === undefined ? [] : [attested]
    return Buffer.concat([sha256(wrong.rpId ?? rpId), Buffer.from([flags]), counter, ...rest])
  }
}
