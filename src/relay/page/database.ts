/** What does the page keep in the browser? Records in IndexedDB: the device's keys, and the workspace that it was paired with. */

const DATABASE = 'workspace-gateway-remote'
const STORE = 'devices'

/** The records. A browser is one device, so there is one pairing for each origin; the trial is what keys are tried with. */
type RecordName = 'this-device' | 'trial'

/** A place in which values are kept. */
export interface Shelf {
  get(name: RecordName): Promise<unknown>
  /** Resolves when the value is on the disk. @throws {DOMException} when the browser cannot keep it */
  put(name: RecordName, value: unknown): Promise<void>
  /** @param isIt whether a value is the one to remove: another tab may have put another there. Default: any is */
  remove(name: RecordName, isIt?: (value: unknown) => boolean): Promise<void>
}

/** The shelf of this browser. */
export const BROWSER_SHELF: Shelf = {
  get: (name) => withStore('readonly', (store) => store.get(name)),
  async put(name, value) {
    await withStore('readwrite', (store) => store.put(value, name))
  },
  async remove(name, isIt = () => true) {
    await withStore('readwrite', (store) => {
      const found: IDBRequest<unknown> = store.get(name)
      // In the same transaction, so that no tab comes between.
      found.addEventListener('success', () => {
        if (isIt(found.result)) store.delete(name)
      })
      return found
    })
  },
}

/** Does one thing in a transaction of its own. Each opens the database, so that what was read has been on the disk. */
async function withStore(
  mode: IDBTransactionMode,
  act: (store: IDBObjectStore) => Pick<IDBRequest<unknown>, 'result'>,
): Promise<unknown> {
  const database = await open()
  try {
    const transaction = database.transaction(STORE, mode, { durability: 'strict' })
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const request = act(transaction.objectStore(STORE))
    transaction.addEventListener('complete', () => resolve(request.result))
    const fail = () => reject(transaction.error ?? new Error('the browser keeps nothing'))
    for (const event of ['abort', 'error']) transaction.addEventListener(event, fail)
    return await promise
  } finally {
    database.close()
  }
}

function open(): Promise<IDBDatabase> {
  const { promise, resolve, reject } = Promise.withResolvers<IDBDatabase>()
  const request = indexedDB.open(DATABASE, 1)
  request.addEventListener('upgradeneeded', () => request.result.createObjectStore(STORE))
  request.addEventListener('success', () => resolve(request.result))
  request.addEventListener('error', () => reject(request.error ?? new Error('no database')))
  return promise
}
