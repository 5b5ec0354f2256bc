'use client'
import { useActionState } from 'react'
import { keepNote } from './keep-note'

/** A form that works with and without scripts. */
export function Notes() {
  const [kept, keep] = useActionState(keepNote, 'nothing')
  return (
    <form action={keep}>
      <input name="note" />
      <button>keep</button>
      <p id="kept">kept {kept}</p>
    </form>
  )
}
