// What the parts of the browser share: types only.

/**
 * @typedef {object} App
 * @property {HTMLElement} frame  the bordered box
 * @property {AbortSignal} signal  ends when the view does
 * @property {import("../shared/messages.js").Model} model
 * @property {import("../shared/messages.js").Messenger} messages
 * @property {ReturnType<typeof import("../shared/controls.js").popover>} popover
 * @property {import("./listing.js").Listing} listing
 * @property {number} latent  the feature shown
 * @property {any} view  its view, or null while it is on its way or when it cannot be read
 * @property {Uint32Array} shown  the latents of the list, in order
 * @property {(latent: number) => void} select
 * @property {(latent: number) => void} hovered  it may be selected soon
 * @property {(step: number) => void} step  to the next or previous feature of the list
 * @property {(trait: string, value: unknown) => void} set  a trait, told to Python
 * @property {(changes: Record<string, any>) => void} filter  merged into the filter; undefined removes
 * @property {(latent: number, change: {label?: string, star?: boolean, note?: string}) => void} edit
 * @property {(latent: number) => boolean} pending  edits of this feature that the kernel has not confirmed
 * @property {(error: unknown) => void} fail  draws an error of this program and tells Python
 */
export {};
