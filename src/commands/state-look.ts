/** What becomes of the state at the next start, and what became of it at the last one? A look at the file, which changes nothing. */
import { codeOf } from '../answers/errors.ts'
import { DamagedStateError, NewerStateError } from '../store/state-errors.ts'
import { lookAtStateFile, stateFile } from '../store/state-file.ts'
import type { FactorLook } from '../store/factor-look.ts'
import type { Damage } from '../store/schema.ts'
import { asOwnerOf } from './open-state.ts'

/** What is known of a state file. `damaged`: the next start moves it aside. `newer`: this program does not start with it. */
export type StateLook =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'sound'
      readonly writtenBy: string
      readonly damage: Damage | undefined
      readonly factors: FactorLook
    }
  | { readonly kind: 'damaged'; readonly why: string }
  | { readonly kind: 'newer'; readonly why: string }
  | { readonly kind: 'unreadable'; readonly why: string }

/** Looks at the state in a folder. It never throws. */
export function lookAtState(stateDir: string): StateLook {
  try {
    const found = asOwnerOf(stateDir, () => lookAtStateFile(stateFile(stateDir)))
    return found === undefined ? { kind: 'none' } : { kind: 'sound', ...found }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return { kind: 'none' }
    const why = error instanceof Error ? error.message : String(error)
    if (error instanceof DamagedStateError) return { kind: 'damaged', why }
    return { kind: error instanceof NewerStateError ? 'newer' : 'unreadable', why }
  }
}

/** One line about a state that was damaged before the last start. */
export function damageText({ at, reason, movedTo }: Damage): string {
  const kept = movedTo === undefined ? '' : `; it is kept as ${movedTo}`
  return `it was damaged when it was opened at ${at} (${reason}): everybody was signed out and the API tokens are gone, and so are second factors${kept}`
}
