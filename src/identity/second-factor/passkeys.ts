/**
 * Is a passkey new and sound, and is its answer to a challenge right? @simplewebauthn/server checks both (WebAuthn Level 3, sections
 * 7.1 and 7.2). This file is loaded when the first passkey is used, because the library and what it needs take memory.
 */
import {
  generateAuthenticationOptions,
  generateRegistrationOptions,
  verifyAuthenticationResponse,
  verifyRegistrationResponse,
  type AuthenticationResponseJSON,
  type PublicKeyCredentialCreationOptionsJSON,
  type PublicKeyCredentialRequestOptionsJSON,
  type RegistrationResponseJSON,
} from '@simplewebauthn/server'
import {
  decodeAttestationObject,
  decodeClientDataJSON,
  isoBase64URL,
} from '@simplewebauthn/server/helpers'
import { createHash } from 'node:crypto'
import type { PasskeyRow } from '../../store/factor-rows.ts'
import { CHALLENGE_MS } from './pending.ts'

/** Where a passkey is made or used. */
export interface Site {
  /** The workspace's own host, without a port: the RP ID. Never the domain above it, which other workspaces share. */
  readonly host: string
  /** The origin of the page, as a browser writes it. */
  readonly origin: string
}

/** What is kept of a new passkey. */
export type NewPasskey = Pick<
  PasskeyRow,
  'credentialId' | 'publicKey' | 'counter' | 'isSynced' | 'transports'
>

/** ES256, EdDSA and RS256, which every authenticator has one of (https://www.iana.org/assignments/cose). */
const ALGORITHMS = [-7, -8, -257]

/** The longest identifier of a credential in bytes (WebAuthn, section 4), as base64url, and the largest public key in bytes. */
const MAX_ID_LENGTH = 1364
const MAX_KEY_BYTES = 2048

const TRANSPORTS: readonly string[] = [
  'ble',
  'cable',
  'hybrid',
  'internal',
  'nfc',
  'smart-card',
  'usb',
]

/** The options for `navigator.credentials.create()`. @param workspace the name of the workspace, which the browser may show */
export async function creationOptions(
  { host }: Site,
  {
    workspace,
    subject,
    known,
  }: { workspace: string; subject: string; known: readonly PasskeyRow[] },
): Promise<PublicKeyCredentialCreationOptionsJSON> {
  return generateRegistrationOptions({
    rpName: workspace,
    rpID: host,
    userName: subject,
    userDisplayName: subject,
    // The same for each passkey of a person, so that an authenticator replaces one and does not gather them. No name in it.
    userID: new Uint8Array(createHash('sha256').update(`passkey user\0${subject}`).digest()),
    timeout: CHALLENGE_MS,
    attestationType: 'none',
    excludeCredentials: known.map(descriptor),
    authenticatorSelection: { residentKey: 'preferred', userVerification: 'required' },
    supportedAlgorithmIDs: ALGORITHMS,
  })
}

/** The options for `navigator.credentials.get()`. */
export async function requestOptions(
  { host }: Site,
  passkeys: readonly PasskeyRow[],
): Promise<PublicKeyCredentialRequestOptionsJSON> {
  return generateAuthenticationOptions({
    rpID: host,
    timeout: CHALLENGE_MS,
    allowCredentials: passkeys.map(descriptor),
    userVerification: 'required',
  })
}

function descriptor({ credentialId, transports }: PasskeyRow): {
  id: string
  transports: string[]
} {
  return { id: credentialId, transports: [...transports] }
}

/** The challenge that a browser's response answers; undefined when it is no response. A page in a frame is refused. */
export function challengeIn(response: unknown): string | undefined {
  try {
    const { clientDataJSON } = (response as RegistrationResponseJSON).response
    const { challenge, crossOrigin } = decodeClientDataJSON(clientDataJSON)
    return typeof challenge === 'string' && crossOrigin !== true ? challenge : undefined
  } catch {
    return undefined
  }
}

/** The identifier of the credential in a response; undefined when it is no response. */
export function credentialIn(response: unknown): string | undefined {
  const id: unknown = (response as Partial<AuthenticationResponseJSON> | undefined)?.id
  return typeof id === 'string' ? id : undefined
}

/** What is kept of a new passkey; undefined when the response is not right. */
export async function verifiedPasskey(
  response: unknown,
  challenge: string,
  { host, origin }: Site,
): Promise<NewPasskey | undefined> {
  try {
    const answer = response as RegistrationResponseJSON
    refuseCertificates(answer)
    const { verified, registrationInfo } = await verifyRegistrationResponse({
      response: answer,
      expectedChallenge: challenge,
      expectedOrigin: origin,
      expectedRPID: host,
      requireUserVerification: true,
      supportedAlgorithmIDs: ALGORITHMS,
    })
    if (!verified) return undefined
    const { credential, credentialDeviceType } = registrationInfo
    const { id, publicKey, counter, transports } = credential
    if (id !== answer.id || id.length > MAX_ID_LENGTH || publicKey.length > MAX_KEY_BYTES)
      return undefined
    return {
      ...{ credentialId: id, publicKey, counter },
      isSynced: credentialDeviceType === 'multiDevice',
      transports: Array.isArray(transports)
        ? TRANSPORTS.filter((one) => (transports as unknown[]).includes(one))
        : [],
    }
  } catch {
    return undefined // the library's errors quote the response
  }
}

/**
 * Refuses an attestation with certificates, which was not asked for: to check one, the library would send requests to the addresses
 * in it. Browsers send none, or a signature by the passkey itself.
 */
function refuseCertificates({ response }: RegistrationResponseJSON): void {
  const attestation = decodeAttestationObject(isoBase64URL.toBuffer(response.attestationObject))
  const format = attestation.get('fmt')
  const isSelf = format === 'packed' && attestation.get('attStmt').get('x5c') === undefined
  if (format !== 'none' && !isSelf) throw new Error('an attestation that was not asked for')
}

/**
 * The counter in a right answer to a challenge; undefined when the answer is not right. The library is told that the counter was 0,
 * because the caller compares it, after the signature was checked, and knows which passkeys may fall.
 */
export async function verifiedCounter(
  response: unknown,
  challenge: string,
  { host, origin }: Site,
  { credentialId, publicKey, isSynced }: PasskeyRow,
): Promise<number | undefined> {
  try {
    const { verified, authenticationInfo } = await verifyAuthenticationResponse({
      response: response as AuthenticationResponseJSON,
      expectedChallenge: challenge,
      expectedOrigin: origin,
      expectedRPID: host,
      credential: { id: credentialId, publicKey: new Uint8Array(publicKey), counter: 0 },
      requireUserVerification: true,
    })
    const { newCounter, credentialDeviceType } = authenticationInfo
    // Whether a credential can be copied never changes (WebAuthn, section 6.1.3).
    if (!verified || (credentialDeviceType === 'multiDevice') !== isSynced) return undefined
    return newCounter
  } catch {
    return undefined
  }
}
