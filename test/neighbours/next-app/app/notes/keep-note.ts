'use server'

/** A Server Action. Next.js refuses it when `Origin` does not match the host of the request. */
export async function keepNote(_before: string, form: FormData): Promise<string> {
  return String(form.get('note')).toUpperCase()
}
