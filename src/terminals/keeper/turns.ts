/**
 * Whose turn is it to work? Output is parsed, wrapped again and drawn in steps of some milliseconds each. A turn of the event loop has
 * one step of one terminal. With a step of each, sixteen terminals that print would keep everybody else waiting sixteen times as long.
 */

const waiting: (() => void)[] = []

/** Resolves in a later turn of the event loop, to one caller in each of them, in the order in which they called. */
export function ownTurn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  waiting.push(resolve)
  if (waiting.length === 1) setImmediate(giveTurn)
  return promise
}

function giveTurn(): void {
  waiting.shift()?.()
  if (waiting.length > 0) setImmediate(giveTurn) // not in this turn: the others' input and output come first
}
