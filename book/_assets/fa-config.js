// The theme's icon font is enough. Its script would replace every icon by an SVG, which breaks scripts that hold on to the icon.
window.FontAwesomeConfig = { autoReplaceSvg: false };
