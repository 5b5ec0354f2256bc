/** How is the secret of a row encrypted and read? Bound to its row; and again, when another key signs. */
import {
  allSealed,
  putSealed,
  type SealedSecret,
  type SealedTable,
} from '../../store/factor-rows.ts'
import type { State } from '../../store/state.ts'
import type { KeyRing } from '../key-ring.ts'
import { seal, unseal, type SealedProblem } from './sealed.ts'

/** Whose secret it is. */
interface Place {
  readonly id: string
  readonly subject: string
}

/** A row with a secret. */
export type SealedRow = SealedSecret & Place

/** Encrypts the secret of a row under the key that signs now. */
export function sealRow(
  keys: KeyRing,
  table: SealedTable,
  row: Place,
  secret: Uint8Array,
): SealedSecret {
  return seal(keys, secret, contextOf(table, row))
}

/** Decrypts the secret of a row. @param keys undefined when this process has no signing key */
export function unsealRow(
  keys: KeyRing | undefined,
  table: SealedTable,
  row: SealedRow,
): Buffer | SealedProblem {
  return keys === undefined ? 'factor-key-missing' : unseal(keys, row, contextOf(table, row))
}

/** Encrypts every secret under the key that signs now, if its own is still known. */
export function rewrapRows(state: State, keys: KeyRing): void {
  const isOld = ({ kid }: SealedSecret) => kid !== keys.signing.kid && keys.has(kid)
  const old = state.read((database) => allSealed(database).filter(isOld)) ?? []
  if (old.length === 0) return
  state.writeSurely((database) => {
    for (const one of allSealed(database).filter(isOld)) {
      const secret = unsealRow(keys, one.table, one)
      if (typeof secret !== 'string')
        putSealed(database, one.table, one.id, sealRow(keys, one.table, one, secret))
    }
  })
}

/** What a sealed secret belongs to. */
function contextOf(table: SealedTable, { id, subject }: Place): string {
  return `${table}\0${id}\0${subject}`
}
