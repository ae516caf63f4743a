// Making elements, and nothing more: h("button", { class: "main", onclick: draw }, "Draw").

type Child = Node | string | number | null | undefined | false | Child[];
type Props = Record<string, unknown>;

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props?: Props | null, ...children: Child[]): HTMLElementTagNameMap[K] {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(props ?? {})) {
        if (value === undefined || value === null || value === false) continue;
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
        else if (name in element && !name.includes("-") && name !== "list") (element as unknown as Props)[name] = value;
        else element.setAttribute(name === "className" ? "class" : name, value === true ? "" : String(value));
    }
    append(element, children);
    return element;
}

export function append(parent: Element, child: Child): void {
    if (Array.isArray(child)) for (const c of child) append(parent, c);
    else if (child !== null && child !== undefined && child !== false) parent.append(child instanceof Node ? child : String(child));
}

/** Replaces what is inside of an element. */
export function fill(parent: Element, ...children: Child[]): void {
    parent.replaceChildren();
    append(parent, children);
}

/** Something that stays in this browser; a broken or missing entry is `initial`. */
export function kept<T>(key: string, initial: T): { get(): T; set(value: T): void } {
    const name = `limn.${key}`;
    return {
        get() {
            try {
                const text = localStorage.getItem(name);
                return text === null ? initial : (JSON.parse(text) as T);
            } catch {
                return initial;
            }
        },
        set(value) {
            try {
                localStorage.setItem(name, JSON.stringify(value));
            } catch {
                // a full or closed store: the page works without memory
            }
        },
    };
}

/** Calls `run` once, some milliseconds after the last call. */
export function settle(ms: number, run: () => void): () => void {
    let timer = 0;
    return () => {
        clearTimeout(timer);
        timer = window.setTimeout(run, ms);
    };
}

export function seconds(ms: number): string {
    const s = ms / 1000;
    return s < 10 ? `${s.toFixed(1)} s` : s < 90 ? `${Math.round(s)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
}
