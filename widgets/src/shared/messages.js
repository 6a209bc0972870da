// Questions to the kernel by message. Each carries an id and gets one answer; nothing else is taken for an answer. A
// question that waits longer than its patience means that the kernel is busy or gone: the view is told, the question
// stays, and when the kernel is heard again whatever it never got is sent again. JupyterLab says at once when a kernel
// ends or starts anew: nothing will answer this view any more.

/**
 * @typedef {object} Model  the part of anywidget's model that is used
 * @property {(name: string) => any} get
 * @property {(name: string, value: unknown) => void} set
 * @property {() => void} save_changes
 * @property {(event: string, callback: (...args: any[]) => void) => void} on
 * @property {(event: string, callback: (...args: any[]) => void) => void} off
 * @property {(content: object) => void} send
 * @property {any} [widget_manager]  that of the front end; JupyterLab's has the kernel
 *
 * @typedef {{content: any, buffers: DataView[]}} Answer
 * @typedef {object} Messenger
 * @property {(kind: string, content?: object, patience?: number) => Promise<Answer>} ask
 *   rejects with an Error when Python answers with one; `details` has its traceback
 * @property {() => void} pulse  asks something small, to find out whether the kernel answers again
 * @property {(kind: string) => number} count  questions of this kind that still wait
 */

export const PATIENCE = 8000;
const PULSE = 15000;

/**
 * @param {Model} model
 * @param {{signal: AbortSignal, heard: (content: any, buffers: DataView[]) => void, connection: (connected: boolean, gone: boolean) => void}} options
 *   `heard` gets the messages that answer no question; `connection` changes of whether the kernel answers, and whether
 *   it is gone for good
 * @returns {Messenger}
 */
export function messenger(model, { signal, heard, connection }) {
  /** @type {Map<number, {content: object, resolve: (answer: Answer) => void, reject: (error: Error) => void, timer: any}>} */
  const waiting = new Map();
  let next = Math.floor(Math.random() * 2 ** 47); // views of one model hear each other's answers: ids must differ
  let [connected, gone] = [true, false];

  /** @param {object} content */
  function send(content) {
    try {
      model.send(content);
    } catch {
      lost(); // the channel itself is closed
    }
  }

  function lost() {
    if (!connected) return;
    connected = false;
    connection(false, gone);
  }

  /** The kernel's own word on how it is. @param {unknown} _ @param {string} status */
  function told(_, status) {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(status) && !gone) {
      [connected, gone] = [false, true];
      connection(false, true);
    } else if (status === "disconnected") lost();
    else if (status === "connected" && !connected) pulse();
  }

  /** @param {number} answered  the id just answered */
  function found(answered) {
    if (connected) return;
    connected = true;
    for (const [id, one] of waiting) if (id !== answered) send(one.content);
    gone = false;
    connection(true, false);
  }

  /** @param {any} content @param {DataView[]} buffers */
  function receive(content, buffers) {
    if (content.id === undefined || content.id === null) return heard(content, buffers);
    const one = waiting.get(content.id);
    if (!one) return; // another view's answer, or a second one
    waiting.delete(content.id);
    clearTimeout(one.timer);
    found(content.id);
    if (content.kind === "error") one.reject(Object.assign(new Error(content.message), { details: content.details }));
    else one.resolve({ content, buffers: buffers ?? [] });
  }

  /** @type {Messenger["ask"]} */
  function ask(kind, content = {}, patience = PATIENCE) {
    const id = next++;
    const question = { ...content, kind, id };
    return new Promise((resolve, reject) => {
      waiting.set(id, { content: question, resolve, reject, timer: setTimeout(lost, patience) });
      send(question);
    });
  }

  function pulse() {
    ask("labels", { since: 0 }).catch(() => {}); // what it says does not matter
  }

  const pulsing = setInterval(() => connected || gone || pulse(), PULSE);
  const kernel = model.widget_manager?.kernel;
  const signals = [kernel?.statusChanged, kernel?.connectionStatusChanged].filter((one) => one?.connect);
  for (const one of signals) one.connect(told);
  model.on("msg:custom", receive);
  signal.addEventListener("abort", () => {
    clearInterval(pulsing);
    for (const one of waiting.values()) clearTimeout(one.timer);
    waiting.clear();
    for (const one of signals) one.disconnect(told);
    model.off("msg:custom", receive);
  });
  return {
    ask,
    pulse,
    count: (kind) => [...waiting.values()].filter((one) => /** @type {any} */ (one.content).kind === kind).length,
  };
}
