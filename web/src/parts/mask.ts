// A brush on a picture: what is painted is drawn anew. The mask goes to the server as the transparency of the picture.

import { h } from "../dom";
import { t } from "../words";

export class MaskBrush {
    readonly element: HTMLElement;
    private readonly paint: HTMLCanvasElement;
    private readonly image: HTMLImageElement;
    private size = 0.12; // of the picture's width
    painted = false;

    constructor(source: string, changed: () => void) {
        this.image = h("img", { src: source, alt: "", draggable: false });
        this.paint = h("canvas", { className: "mask-paint", tabIndex: 0, role: "img", "aria-label": t("mask") });
        this.image.onload = () => {
            this.paint.width = this.image.naturalWidth;
            this.paint.height = this.image.naturalHeight;
        };
        let last: [number, number] | undefined;
        const stroke = (event: PointerEvent): void => {
            const box = this.paint.getBoundingClientRect(), pen = this.paint.getContext("2d")!;
            const at: [number, number] = [((event.clientX - box.left) / box.width) * this.paint.width, ((event.clientY - box.top) / box.height) * this.paint.height];
            pen.strokeStyle = pen.fillStyle = "#5b4bd6";
            pen.lineCap = "round";
            pen.lineWidth = this.size * this.paint.width;
            pen.beginPath();
            pen.moveTo(...(last ?? at));
            pen.lineTo(at[0] + 0.01, at[1]);
            pen.stroke();
            last = at;
            this.painted = true;
        };
        this.paint.onpointerdown = event => {
            this.paint.setPointerCapture(event.pointerId);
            stroke(event);
        };
        this.paint.onpointermove = event => void (event.buttons & 1 && stroke(event));
        this.paint.onpointerup = () => {
            last = undefined;
            changed();
        };
        this.element = h("div", { className: "mask" },
            h("div", { className: "mask-picture" }, this.image, this.paint),
            h("div", { className: "row" },
                h("label", { className: "grow" }, t("brush"),
                    h("input", { type: "range", min: "2", max: "50", value: "12", oninput: (e: Event) => (this.size = Number((e.target as HTMLInputElement).value) / 100) })),
                h("button", { type: "button", onclick: () => { this.clear(); changed(); } }, t("maskClear"))));
    }

    clear(): void {
        this.paint.getContext("2d")!.clearRect(0, 0, this.paint.width, this.paint.height);
        this.painted = false;
    }

    /** A PNG of the picture's size: transparent where it was painted, opaque elsewhere. */
    png(): Promise<Blob> {
        const canvas = h("canvas", { width: this.paint.width, height: this.paint.height }), pen = canvas.getContext("2d")!;
        pen.fillStyle = "#000";
        pen.fillRect(0, 0, canvas.width, canvas.height);
        pen.globalCompositeOperation = "destination-out";
        pen.drawImage(this.paint, 0, 0);
        return new Promise((good, bad) => canvas.toBlob(blob => (blob ? good(blob) : bad(new Error("no mask"))), "image/png"));
    }
}
