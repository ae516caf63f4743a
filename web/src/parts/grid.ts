// A grid of any number of squares of which only those near the window are there: what 100,000 pictures are scrolled through.

import { h, settle } from "../dom";

const GAP = 10, LEAST = 150, AHEAD = 3; // pixels, pixels, rows
const FAST = 25; // rows a second, above which pictures are not asked for before the hand rests

export type Cell = { make(index: number): HTMLElement; show(cell: HTMLElement, index: number): void };

export class EndlessGrid {
    readonly element = h("div", { className: "endless", role: "list" });
    private count = 0;
    private columns = 1;
    private side = LEAST;
    private readonly cells = new Map<number, HTMLElement>();
    private waiting = false;
    private lastTop = 0;
    private lastTime = 0;
    private readonly rest = settle(90, () => this.update(true));

    /** `make` gives an empty square, quickly; `show` fills it, when it is likely to be looked at; `seen` is told which are. */
    constructor(private readonly cell: Cell, private readonly seen: (from: number, to: number) => void) {
        const soon = (): void => {
            if (this.waiting) return;
            this.waiting = true;
            requestAnimationFrame(() => {
                this.waiting = false;
                this.update(false);
            });
        };
        window.addEventListener("scroll", soon, { passive: true });
        new ResizeObserver(() => this.place()).observe(this.element);
    }

    /** How many squares there are; all are made anew. */
    fill(count: number): void {
        this.count = count;
        this.clear();
        this.place();
    }

    /** Those squares that are there. */
    each(run: (cell: HTMLElement, index: number) => void): void {
        for (const [index, cell] of this.cells) run(cell, index);
    }

    /** Brings a square into the window and gives it the keyboard. */
    focus(index: number): void {
        const top = Math.floor(index / this.columns) * (this.side + GAP), box = this.element.getBoundingClientRect();
        if (box.top + top < 60 || box.top + top + this.side > innerHeight) window.scrollBy(0, box.top + top - innerHeight / 2 + this.side / 2);
        this.update(true);
        this.cells.get(index)?.querySelector<HTMLElement>("button")?.focus();
    }

    get across(): number {
        return this.columns;
    }

    private clear(): void {
        this.element.replaceChildren();
        this.cells.clear();
    }

    private place(): void {
        const wide = this.element.clientWidth;
        if (!wide) return;
        const columns = Math.max(2, Math.floor((wide + GAP) / (LEAST + GAP))), side = Math.floor((wide - GAP * (columns - 1)) / columns);
        if (columns !== this.columns || side !== this.side) {
            [this.columns, this.side] = [columns, side];
            this.clear();
        }
        this.element.style.height = `${Math.ceil(this.count / columns) * (side + GAP)}px`;
        this.update(true);
    }

    private update(rested: boolean): void {
        const box = this.element.getBoundingClientRect(), row = this.side + GAP, now = performance.now();
        if (!this.element.isConnected || !box.width) return;
        const fast = !rested && Math.abs(box.top - this.lastTop) / row > (FAST * Math.max(1, now - this.lastTime)) / 1000;
        [this.lastTop, this.lastTime] = [box.top, now];
        const first = Math.max(0, Math.floor(-box.top / row) - AHEAD), last = Math.ceil((innerHeight - box.top) / row) + AHEAD;
        const from = Math.min(this.count, first * this.columns), to = Math.min(this.count, Math.max(0, last * this.columns));
        for (const [index, cell] of this.cells)
            if (index < from || index >= to) {
                cell.remove();
                this.cells.delete(index);
            }
        for (let index = from; index < to; index++) {
            let cell = this.cells.get(index);
            if (!cell) {
                cell = h("div", { className: "square", role: "listitem" }, this.cell.make(index));
                cell.style.cssText = `width:${this.side}px;height:${this.side}px;transform:translate(${(index % this.columns) * row}px,${Math.floor(index / this.columns) * row}px)`;
                this.cells.set(index, cell);
                this.element.append(cell);
            }
            if (!fast) this.cell.show(cell, index);
        }
        if (fast) this.rest();
        else if (to > from) this.seen(from, to);
    }
}
