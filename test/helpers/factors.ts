/** How does a test have second factors? On a state of its own, with clocks that it sets, and an authenticator app of its own. */
import type { Test } from 'tap'
import { Secret, TOTP } from 'otpauth'
import { KeyRing } from '../../src/identity/key-ring.ts'
import { SecondFactors } from '../../src/identity/second-factor/factors.ts'
import type { FactorRefusal } from '../../src/identity/second-factor/verdicts.ts'
import { State } from '../../src/store/state.ts'
import { CONFIG_SECRET } from './configuration.ts'

/** A time in the middle of a step, in milliseconds since 1970. */
export const START = 1_800_000_015_000

/** One step of a code, in milliseconds. */
export const STEP = 30_000

export const ALICE = { subject: 'alice', sessionId: 'session-a' }

/** The code that an app shows. */
export function codeAt(secret: string, at: number): string {
  return TOTP.generate({ secret: Secret.fromBase32(secret), timestamp: at })
}

/**
 * Sets up an authenticator app.
 * @param at the moment whose code confirms it, in milliseconds since 1970
 * @returns its id and secret, and the backup codes; none when there were some before
 */
export function setUpApp(
  factors: SecondFactors,
  subject: string,
  { sessionId, hasProof, at }: { sessionId: string; hasProof: boolean; at: number },
): { id: string; secret: string; backupCodes: readonly string[] } {
  const begun = factors.beginTotp(subject, { sessionId, hasProof })
  if (!begun.isDone) throw new Error(begun.reason)
  const { id, secret } = begun
  const done = factors.confirmTotp(subject, { sessionId, id, code: codeAt(secret, at) })
  if (!done.isDone) throw new Error(done.reason)
  return { id, secret, backupCodes: done.backupCodes ?? [] }
}

/** Second factors on a state, with a wall clock and a steady clock that the test sets. */
export function factorsOn(
  state: State,
  { keys = new KeyRing([CONFIG_SECRET]), at = START }: { keys?: KeyRing; at?: number } = {},
) {
  const clock = { now: at, monotonic: 0 }
  const factors = new SecondFactors({
    ...{ state, keys, workspace: 'houston' },
    now: () => clock.now,
    monotonic: () => clock.monotonic,
  })
  state.onOpened(() => factors.load())
  factors.load()
  return {
    ...{ state, keys, factors, clock },
    /** Shows a code. @returns the reason of the refusal; `done` when there is none */
    show: async (code: string, subject = 'alice'): Promise<'done' | FactorRefusal> => {
      const proof = { kind: 'code', code } as const
      const { sessionId } = ALICE
      const verdict = await factors.prove(subject, { sessionId, proof, purpose: 'step-up' })
      return verdict.isDone ? 'done' : verdict.reason
    },
    /** Sets up an authenticator app with the code of this moment. @returns its secret, and the backup codes */
    addApp: (subject = 'alice', hasProof = false) =>
      setUpApp(factors, subject, { sessionId: ALICE.sessionId, hasProof, at: clock.now }),
  }
}

/** Second factors on a state in memory. */
export function factorsInMemory(t: Test, options: Parameters<typeof factorsOn>[1] = {}) {
  const state = State.inMemory()
  t.teardown(() => state.close())
  return factorsOn(state, options)
}
