/**
 * What do forms with a passkey do in the browser? The button asks the authenticator, and sends what it answers with the form. This
 * function is sent as text, so it uses nothing from outside itself.
 */

/**
 * Makes the forms with `data-passkey` work: `get` shows a passkey, `create` makes one. `data-options` holds the options as JSON
 * (WebAuthn Level 3, section 5.1), the field `passkey` takes the answer, and `.problem` says what went wrong.
 */
export function passkey(): void {
  for (const form of document.querySelectorAll<HTMLFormElement>('form[data-passkey]')) {
    const button = form.querySelector<HTMLButtonElement>('button')
    const field = form.querySelector<HTMLInputElement>('input[name=passkey]')
    const problem = form.querySelector<HTMLElement>('.problem')
    if (button === null || field === null || problem === null) continue
    if (
      !('PublicKeyCredential' in window) ||
      !('parseRequestOptionsFromJSON' in PublicKeyCredential)
    ) {
      say(
        problem,
        'This browser cannot use passkeys here: it is too old, or the page did not come by https.',
      )
      continue
    }
    button.hidden = false
    form.addEventListener('submit', (event) => {
      event.preventDefault() // Enter in a field sends the form, which has no passkey in it yet
      button.click()
    })
    button.addEventListener('click', () => {
      button.disabled = true
      problem.hidden = true
      send(form, field).catch((error: unknown) => {
        button.disabled = false
        say(problem, reasonOf(error))
      })
    })
  }

  async function send(form: HTMLFormElement, field: HTMLInputElement): Promise<void> {
    field.value = JSON.stringify(await ask(form))
    form.submit()
  }

  async function ask({ dataset }: HTMLFormElement): Promise<unknown> {
    const options = JSON.parse(dataset['options'] ?? '') as never
    const credential =
      dataset['passkey'] === 'create'
        ? await navigator.credentials.create({
            publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options),
          })
        : await navigator.credentials.get({
            publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options),
          })
    if (credential === null) throw new Error('nothing was chosen')
    return (credential as PublicKeyCredential).toJSON()
  }

  function say(place: HTMLElement, text: string) {
    place.textContent = text
    place.hidden = false
  }

  function reasonOf(error: unknown): string {
    const { name = '' } = error as { name?: string }
    if (name === 'NotAllowedError') return 'Nothing was chosen, or it took too long. Try again.'
    if (name === 'InvalidStateError') return 'This device has a passkey for this workspace already.'
    return 'The passkey did not work. Try again, or use another factor.'
  }
}
