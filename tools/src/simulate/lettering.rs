//! Letters made of strokes, for bitmaps on machines without fonts.
//!
//! ```text
//!     0 1 2 3 4
//!   0 +       +
//!   2   x---x        two digits are a point, a space lifts the pen:
//!   3 x       x      "123243453616050312" is an o
//!   5 x       x
//!   6   x---x        letters stand on 6, a p ends at 8
//!   8 +       +
//! ```
//!
//! `plotters` draws text into bitmaps with the system's fonts, which need fontconfig and freetype
//! to be built. Its estimates of widths need neither, and the letters are scaled to these
//! estimates.

use plotters::backend::BitMapBackend;
use plotters::style::{RGBAColor, ShapeStyle};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};

/// Width of a letter in cells, with the space after it.
const CELLS_WIDE: f64 = 6.0;
const CELLS_HIGH: f64 = 8.0;

/// A bitmap that draws its text itself.
pub(crate) struct Lettered<'a>(BitMapBackend<'a>);

impl<'a> Lettered<'a> {
    pub(crate) fn new(bitmap: BitMapBackend<'a>) -> Self {
        Self(bitmap)
    }
}

type Drawn<'a> = Result<(), DrawingErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

impl<'a> DrawingBackend for Lettered<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.0.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn<'a> {
        self.0.ensure_prepared()
    }

    fn present(&mut self) -> Drawn<'a> {
        self.0.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn<'a> {
        self.0.draw_pixel(point, color)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn<'a> {
        self.0.draw_rect(upper_left, bottom_right, style, fill)
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, position: BackendCoord) -> Drawn<'a> {
        let layout = style.layout_box(text).map_err(|error| DrawingErrorKind::FontError(Box::new(error)))?;
        let (width, height) = (f64::from(layout.1.0 - layout.0.0), f64::from(layout.1.1 - layout.0.1));
        let left = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        let top = match style.anchor().v_pos {
            VPos::Top => 0.0,
            VPos::Center => -height / 2.0,
            VPos::Bottom => -height,
        };
        let cell = (width / (CELLS_WIDE * text.chars().count().max(1) as f64), height / CELLS_HIGH);
        let ((red, green, blue), alpha) = (style.color().rgb, style.color().alpha);
        let pen = ShapeStyle { color: RGBAColor(red, green, blue, alpha), filled: false, stroke_width: 2 };
        for (index, letter) in text.chars().enumerate() {
            for stroke in strokes(letter).split(' ') {
                let points = stroke.as_bytes().chunks_exact(2).map(|point| {
                    let x = left + (index as f64 * CELLS_WIDE + f64::from(point[0] - b'0')) * cell.0;
                    let y = top + f64::from(point[1] - b'0') * cell.1;
                    let (x, y) = style.transform().transform(pixel(x), pixel(y));
                    (position.0 + x, position.1 + y)
                });
                self.0.draw_path(points, &pen)?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "within a picture")]
fn pixel(place: f64) -> i32 {
    place.round() as i32
}

/// The strokes of a letter that has none of its own: a box.
const UNKNOWN: &str = "0040460600";

/// Letters and their strokes.
const LETTERS: &[(char, &str)] = &[
    ('%', "0640 0010110100 3545463635"),
    ('(', "20111526"),
    (')', "20313526"),
    ('+', "0343 2125"),
    (',', "252617"),
    ('-', "1333"),
    ('.', "2526"),
    ('/', "0640"),
    ('0', "103041453616050110"),
    ('1', "112026 1636"),
    ('2', "01103041420646"),
    ('3', "004022324345361605"),
    ('4', "36300444"),
    ('5', "4000023243453606"),
    ('6', "3010010516364543321203"),
    ('7', "004016"),
    ('8', "103041423313020110 1304051636454433"),
    ('9', "1636454130100103143443"),
    (':', "2223 2526"),
    ('=', "0242 0444"),
    ('A', "062046 1434"),
    ('B', "06003041423303 3344453606"),
    ('C', "4130100105163645"),
    ('D', "06002042442606"),
    ('E', "40000646 0333"),
    ('F', "400006 0333"),
    ('G', "41301001051636454323"),
    ('H', "0006 4046 0343"),
    ('I', "1030 2026 1636"),
    ('J', "4045361605"),
    ('K', "0006 4003 0346"),
    ('L', "000646"),
    ('M', "0600234046"),
    ('N', "06004640"),
    ('O', "103041453616050110"),
    ('P', "06003041423303"),
    ('Q', "103041453616050110 2446"),
    ('R', "06003041423303 2346"),
    ('S', "413010010213334445361605"),
    ('T', "0040 2026"),
    ('U', "000516364540"),
    ('V', "002640"),
    ('W', "0016223640"),
    ('X', "0046 4006"),
    ('Y', "002340 2326"),
    ('Z', "00400646"),
    ('_', "0747"),
    ('a', "12324346 441405163645"),
    ('b', "00063645433202"),
    ('c', "421203051646"),
    ('d', "40461605031242"),
    ('e', "044443321203051646"),
    ('f', "40302126 1242"),
    ('g', "461605031242473808"),
    ('h', "0006 0312324346"),
    ('i', "2226 2021"),
    ('j', "32372808 3031"),
    ('k', "0006 4204 1446"),
    ('l', "202536"),
    ('m', "0206 03122326 23324346"),
    ('n', "0206 0312324346"),
    ('o', "123243453616050312"),
    ('p', "08023243453606"),
    ('q', "48421203051646"),
    ('r', "0206 042242"),
    ('s', "4212031434453606"),
    ('t', "20253646 0242"),
    ('u', "0205164642"),
    ('v', "022642"),
    ('w', "0216233642"),
    ('x', "0246 4206"),
    ('y', "0226 422608"),
    ('z', "02420646"),
];

/// Returns the strokes of a letter. A space separates two strokes, and nothing separates points.
fn strokes(letter: char) -> &'static str {
    let known = LETTERS.iter().find(|(known, _)| *known == letter);
    match known {
        Some((_, strokes)) => strokes,
        None if letter == ' ' => "",
        None => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytecache::Policy;

    use super::*;

    #[test]
    fn letters_come_once_and_stay_in_their_cells() {
        let mut known = HashSet::new();
        for (letter, strokes) in LETTERS {
            assert!(known.insert(letter), "{letter}");
            for stroke in strokes.split(' ') {
                assert!(stroke.len() >= 4 && stroke.len() % 2 == 0, "{letter}");
                let points = stroke.as_bytes().chunks_exact(2);
                assert!(
                    points
                        .into_iter()
                        .all(|point| (b'0'..=b'4').contains(&point[0]) && (b'0'..=b'8').contains(&point[1]))
                );
            }
        }
    }

    #[test]
    fn all_that_a_picture_says_has_letters() {
        let names = Policy::ALL.iter().map(ToString::to_string).collect::<String>();
        let text =
            names + "optimum bound s3-fifo(small=20,visits=1) 1,234,567.89 MB 0 % GB trace_a.trc.zst: miss ratio";
        let unknown: String = text.chars().filter(|letter| strokes(*letter) == UNKNOWN).collect();
        assert_eq!(unknown, "");
        assert_eq!((strokes(' '), strokes('\u{e9}')), ("", UNKNOWN));
    }
}
