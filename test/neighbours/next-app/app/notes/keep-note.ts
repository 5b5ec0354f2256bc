'use server'

/** A Server Action: Next refuses it when `Origin` is not the host that it is reached as. */
export async function keepNote(_before: string, form: FormData): Promise<string> {
  return String(form.get('note')).toUpperCase()
}
